# SPDX-License-Identifier: MIT
"""The shipped body: the schema's defaults as a `Body`."""

from walkhome.robot.config.schema import RobotConfig

MINITAUR = RobotConfig().to_body()
