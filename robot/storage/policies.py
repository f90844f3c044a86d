# SPDX-License-Identifier: MIT
"""Loads the policies of a run and checks that they fit the configuration."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

from walkhome.learning.policy import NumpyPolicy, PolicyInvalid, load_policies
from walkhome.robot.config.schema import Config
from walkhome.robot.mdp.observation import observation_layout


def policy_metadata(config: Config) -> dict[str, Any]:
    """Metadata of a saved policy: observation layout, scales, control rate, filter and body.

    It is what a program needs to run the policy on its own; JSON-able.
    """
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
    """Short SHA-256 of a `policy.safetensors` file; empty if there is none."""
    return hashlib.sha256(path.read_bytes()).hexdigest()[:16] if path.is_file() else ""


def checked_policies(path: Path, config: Config) -> dict[str, NumpyPolicy]:
    """Load the policies of a run and check them against a configuration.

    Args:
        path: a `policy.safetensors` file.
        config: the configuration that the policies will be used with.

    Returns:
        The policy of each task, by name.

    Raises:
        PolicyInvalid: there is no file, it is damaged, a task is missing, or the policies were
            learned with another body, observation, control rate or filter.
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
                f"{path}: its {key} is {metadata.get(key)}, but the configuration has "
                f"{expected[key]}; use the configuration that it was learned with"
            )
    missing = [task for task in config.tasks if task not in policies]
    if missing:
        raise PolicyInvalid(f"{path}: no policy for {', '.join(missing)}; learn those tasks first")
    size = observation_layout(config.control).size
    for task, policy in policies.items():
        if policy.observation_size != size or policy.action_size != 8:
            raise PolicyInvalid(
                f"{path}: the policy of {task!r} has {policy.observation_size} inputs and "
                f"{policy.action_size} outputs; {size} and 8 are needed"
            )
    return policies
