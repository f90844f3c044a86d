# SPDX-License-Identifier: MIT
"""The policies that a run has learned, checked against the configuration they have to fit."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

from walkhome.learning.policy import NumpyPolicy, PolicyInvalid, load_policies
from walkhome.robot.config.schema import Config
from walkhome.robot.mdp.observation import observation_layout


def policy_metadata(config: Config) -> dict[str, Any]:
    """What it takes to run a saved policy elsewhere: layout, scales, rate, filter, body."""
    return {
        "format": 1,
        "tasks": list(config.tasks),
        "observation": observation_layout(config.control).to_json(),
        "action": {"layout": "swing[4], extension[4] around the stance", "range": [-1.0, 1.0]},
        "rate_hz": config.control.rate_hz,
        "action_filter": config.control.action_filter.model_dump(),
        "body": config.robot.model_dump(),
    }


def policy_digest(path: Path) -> str:
    """Tells one `policy.safetensors` from another; empty where there is none."""
    return hashlib.sha256(path.read_bytes()).hexdigest()[:16] if path.is_file() else ""


def checked_policies(path: Path, config: Config) -> dict[str, NumpyPolicy]:
    """The policies of a run, if they fit its configuration.

    Args:
        path: a `policy.safetensors`.
        config: of the run, or one that the policies shall be used with.

    Raises:
        PolicyInvalid: no file, a damaged one, a missing task, another body or observation.
    """
    if not path.is_file():
        raise PolicyInvalid(
            f"{path}: there is no policy yet; the run wrote no checkpoint. Learn again, or longer"
        )
    policies, metadata = load_policies(path)
    expected = policy_metadata(config)
    for key in ("observation", "action", "rate_hz", "action_filter", "body"):
        if metadata.get(key) != expected[key]:
            raise PolicyInvalid(
                f"{path}: its {key} is {metadata.get(key)}, the configuration's {expected[key]}; "
                "use the configuration it was learned with"
            )
    missing = [task for task in config.tasks if task not in policies]
    if missing:
        raise PolicyInvalid(f"{path}: no policy for {', '.join(missing)}; learn those tasks first")
    size = observation_layout(config.control).size
    for task, policy in policies.items():
        if policy.observation_size != size or policy.action_size != 8:
            raise PolicyInvalid(
                f"{path}: task {task!r} wants {policy.observation_size} numbers and gives "
                f"{policy.action_size}, the robot has {size} and takes 8"
            )
    return policies
