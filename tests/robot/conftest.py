# SPDX-License-Identifier: MIT
"""Fixtures: a run with four posture policies, and user folders for a module alone."""

import signal
from pathlib import Path

import numpy as np
import pytest
from learned_run import TASKS, posture_policy

from walkhome.learning.policy import save_policies
from walkhome.robot.config.resolve import resolve_config
from walkhome.robot.mdp.observation import observation_layout
from walkhome.robot.storage.policies import policy_metadata
from walkhome.robot.storage.run_folder import RunFolder


@pytest.fixture(scope="session", autouse=True)
def hang_ups():
    """Restore the default of SIGHUP, which children inherit, also under `nohup`."""
    before = signal.signal(signal.SIGHUP, signal.SIG_DFL)
    yield
    signal.signal(signal.SIGHUP, before)


@pytest.fixture(scope="session")
def config():
    """The configuration of a run of all four tasks."""
    return resolve_config(flags={"tasks": list(TASKS)}).config


@pytest.fixture
def policies(config):
    """A policy per task that holds its own mild posture, in which the twin stands."""
    size = observation_layout(config.control).size
    made = {}
    for number, task in enumerate(TASKS):
        action = np.zeros(8)
        action[number] = 0.2
        made[task] = posture_policy(size, action)
    return made


@pytest.fixture
def learned(tmp_path, config, policies):
    """The folder of a run with those policies."""
    run = RunFolder.create(tmp_path / "run", config, ["robot", "learn"])
    run.close()
    save_policies(run.path / "policy.safetensors", policies, policy_metadata(config))
    return run.path


@pytest.fixture(scope="module")
def places(tmp_path_factory):
    """A folder for sockets, locks, calibrations and the emergency stop of a module alone."""
    folder = tmp_path_factory.mktemp("user")
    with pytest.MonkeyPatch.context() as patch:
        for name in ("XDG_RUNTIME_DIR", "XDG_CONFIG_HOME", "XDG_STATE_HOME"):
            patch.setenv(name, str(folder))
        patch.setenv("PYTHONPATH", str(Path(__file__).parents[2]))
        yield folder
