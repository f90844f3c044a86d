# SPDX-License-Identifier: MIT
"""Makes the pose source that --pose names.

auto                      poses that a program on this machine sends to the robot's own socket
unix:PATH                 the same, with another socket
odometry                  encoders and IMU only; drifts, so the workspace is not guarded safely
mocap:SYSTEM:HOST:BODY    a motion-capture system
camera:FILE               a camera and tags, described in a YAML file (`CameraConfig`)
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from pydantic import Field, ValidationError

from walkhome.hardware.pose.guard import PoseGuard, PoseSourceRefused, SocketPose
from walkhome.hardware.pose.odometry import LegOdometry
from walkhome.hardware.robot import PoseSource
from walkhome.hardware.serial.board import SerialRobot
from walkhome.robot.config.messages import explain
from walkhome.robot.config.sections import Positive, Section
from walkhome.robot.config.strict_yaml import YamlError, load_yaml
from walkhome.robot.storage.atomic_files import why
from walkhome.safety.lease import runtime_folder

KINDS = "auto, unix:PATH, odometry, mocap:SYSTEM:HOST:BODY, camera:FILE"


class CameraConfig(Section):
    """The YAML file of a camera: its calibration and its tags.

    See `hardware.pose.camera.TagSetup`.
    """

    device: Annotated[int, Field(ge=0, le=63)] = 0
    focal_px: Annotated[tuple[Positive, Positive], Field(strict=False)]
    centre_px: Annotated[tuple[float, float], Field(strict=False)]
    distortion: Annotated[tuple[float, ...], Field(min_length=4, max_length=14, strict=False)] = (
        0.0,
    ) * 5
    robot_tag: Annotated[int, Field(ge=0, le=586)] = 1
    floor_tag: Annotated[int, Field(ge=0, le=586)] = 0
    robot_tag_m: Annotated[float, Field(gt=0.0, le=2.0)] = 0.12
    floor_tag_m: Annotated[float, Field(gt=0.0, le=2.0)] = 0.2


def pose_socket(robot_id: str) -> Path:
    """Return the socket where `auto` listens and to which the emulated robot sends its poses."""
    safe = "".join(c if c.isalnum() or c in "_.-" else "_" for c in robot_id)
    return runtime_folder() / f"pose-{safe}.sock"


def make_pose(text: str, robot: SerialRobot) -> PoseGuard:
    """Make a pose source with its guard; both are closed together with the robot.

    Args:
        text: name of the source; see this module.
        robot: the robot, which gives its id, or its sensors for odometry.

    Raises:
        PoseSourceRefused: the name is not known, or the source can't be opened.
    """
    kind, _, rest = text.partition(":")
    source: PoseSource
    if text == "auto":
        source = SocketPose(pose_socket(robot.identity.robot_id))
    elif kind == "unix" and rest:
        source = SocketPose(Path(rest))
    elif text == "odometry":
        source = odometry = LegOdometry(robot.body)
        robot.listeners.append(odometry.update)
    elif kind == "mocap":
        source = _mocap(rest)
    elif kind == "camera" and rest:
        source = _camera(Path(rest))
    else:
        raise PoseSourceRefused(f"--pose: {text!r} is not known; use one of {KINDS}")
    guard = PoseGuard(source)
    robot.at_close(guard.close)
    return guard


def _mocap(rest: str) -> PoseSource:
    system, _, more = rest.partition(":")
    host, _, rigid_body = more.partition(":")
    if not (system and host and rigid_body):
        raise PoseSourceRefused(
            "--pose: write mocap:SYSTEM:HOST:BODY, e.g. mocap:vicon:10.0.0.2:cat"
        )
    from walkhome.hardware.pose.mocap import MotionCapturePose

    return MotionCapturePose(system, {"hostname": host}, rigid_body)


def _camera(path: Path) -> PoseSource:
    from walkhome.hardware.pose.camera import CameraPose, TagSetup

    try:
        config = CameraConfig.model_validate(load_yaml(path.read_text("utf-8"), str(path)))
    except (OSError, UnicodeDecodeError, YamlError) as error:
        cause = why(error) if isinstance(error, OSError) else str(error)
        raise PoseSourceRefused(f"{path}: {cause}") from None
    except ValidationError as error:
        raise PoseSourceRefused(f"{path}: {explain(error, CameraConfig)}") from None
    (fx, fy), (cx, cy) = config.focal_px, config.centre_px
    setup = TagSetup(
        ((fx, 0.0, cx), (0.0, fy, cy), (0.0, 0.0, 1.0)),
        config.distortion,
        config.robot_tag,
        config.floor_tag,
        config.robot_tag_m,
        config.floor_tag_m,
    )
    return CameraPose(setup, config.device)
