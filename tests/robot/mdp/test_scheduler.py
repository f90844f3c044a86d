# SPDX-License-Identifier: MIT
"""The scheduler walks home: for every pose, for two tasks and for four."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from walkhome.hardware.robot import Pose2D
from walkhome.hardware.rotation import wrap_to_pi
from walkhome.robot.mdp.rewards import TASKS
from walkhome.robot.mdp.scheduler import TasksInvalid, check_tasks, least_practised, next_task
from walkhome.robot.mdp.workspace import Workspace

SPACE = Workspace(2.5, 2.0, 0.3, margin_m=0.0)
FOUR = ("forward", "backward", "left", "right")
poses = st.builds(
    Pose2D,
    x_m=st.floats(-3, 3),
    y_m=st.floats(-3, 3),
    yaw_rad=st.floats(-math.pi, math.pi),
    time_s=st.just(0.0),
)
far = poses.filter(lambda pose: not SPACE.near_centre(pose))


@given(far)
def test_two_tasks_split_the_plane_in_halves(pose):
    task = next_task(("forward", "backward"), pose, SPACE, {})
    ahead = math.cos(SPACE.bearing_to_centre_rad(pose))
    if abs(ahead) > 1e-9:
        assert task == ("forward" if ahead > 0 else "backward")


@given(far)
def test_four_tasks_follow_the_sectors(pose):
    task = next_task(FOUR, pose, SPACE, {})
    bearing = SPACE.bearing_to_centre_rad(pose)
    if abs(bearing) < math.pi / 4 - 1e-9:
        assert task == "forward"
    elif abs(bearing) > 3 * math.pi / 4 + 1e-9:
        assert task == "backward"
    elif math.pi / 4 + 1e-9 < abs(bearing) < 3 * math.pi / 4 - 1e-9:
        assert task == ("left" if bearing > 0 else "right")


@given(far, st.sampled_from([("forward", "backward"), FOUR]))
def test_a_short_way_along_a_chosen_walk_leads_home(pose, tasks):
    task = TASKS[next_task(tasks, pose, SPACE, dict.fromkeys(tasks, 0))]
    if task.turns:
        after = abs(wrap_to_pi(SPACE.bearing_to_centre_rad(pose) - 0.1 * task.direction[2]))
        assert after < abs(SPACE.bearing_to_centre_rad(pose))
    else:
        heading = pose.yaw_rad + task.heading_rad
        way = (math.cos(heading), math.sin(heading))
        # The derivative of the distance to the centre along the way is not positive.
        assert pose.x_m * way[0] + pose.y_m * way[1] <= 1e-9


@given(far, st.sampled_from([("forward", "backward"), FOUR]))
def test_a_mirrored_world_gets_the_mirrored_task(pose, tasks):
    mirrored = Pose2D(pose.x_m, -pose.y_m, -pose.yaw_rad, 0.0)
    swap = {"left": "right", "right": "left"}
    one = next_task(tasks, pose, SPACE, {})
    other = next_task(tasks, mirrored, SPACE, {})
    bearing = abs(SPACE.bearing_to_centre_rad(pose))
    edges = (0.0, math.pi / 4, math.pi / 2, 3 * math.pi / 4, math.pi)
    if all(abs(bearing - edge) > 1e-6 for edge in edges):
        assert other == swap.get(one, one)


def test_near_the_centre_the_least_experienced_task_is_next():
    pose = Pose2D(0.1, 0.1, 1.0, 0.0)
    experience = {"forward": 5, "backward": 7, "left": 2, "right": 9}
    assert next_task(FOUR, pose, SPACE, experience) == "left"


@pytest.mark.parametrize(
    ("tasks", "message"),
    [
        ((), "no tasks"),
        (("forward",), "'backward'"),
        (("left", "forward", "backward"), "'right'"),
        (("sideways", "forward"), "unknown task 'sideways'"),
    ],
)
def test_a_set_that_cannot_walk_home_is_refused(tasks, message):
    with pytest.raises(TasksInvalid, match=message):
        check_tasks(tasks)
    check_tasks(FOUR)


def test_without_the_scheduler_any_tasks_will_do_in_turn():
    check_tasks(("forward", "left"), scheduled=False)
    with pytest.raises(TasksInvalid, match="unknown"):
        check_tasks(("sideways",), scheduled=False)
    assert least_practised(("forward", "left"), {"forward": 5, "left": 3}) == "left"
    assert least_practised(("forward", "left"), {"forward": 3, "left": 3}) == "forward"
