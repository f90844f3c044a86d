# SPDX-License-Identifier: MIT
"""`python -m walkhome.robot.cli`: the command line without the console script."""

from walkhome.robot.cli.app import main

main()
