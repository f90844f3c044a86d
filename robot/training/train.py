# SPDX-License-Identifier: MIT
"""Starts a run: the trainer on a plant; in real time with real-time priority and side threads."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from walkhome.hardware.realtime import CONTROL_PRIORITY, on_time
from walkhome.robot.config.schema import Config
from walkhome.robot.control.plant import Plant
from walkhome.robot.control.side_thread import CLOSE_S, SideThread
from walkhome.robot.control.stop_request import StopRequest
from walkhome.robot.control.twin_plant import make_twin
from walkhome.robot.monitor.background import BackgroundView
from walkhome.robot.monitor.view import View
from walkhome.robot.storage.run_folder import RunFolder
from walkhome.robot.training.learner_process import start_learner
from walkhome.robot.training.trainer import StartLearner, Trainer


def learn(
    config: Config,
    run: RunFolder,
    view: View,
    stop: StopRequest,
    plant: Plant | None = None,
    resume: bool = False,
    start: StartLearner = start_learner,
) -> dict[str, Any]:
    """Train until the robot minutes are spent or a stop is requested.

    Args:
        config: the resolved configuration.
        run: an open run folder.
        view: shows what happens.
        stop: asked every control step; a request ends the run.
        plant: the robot; the twin in lockstep when None.
        resume: continue from the newest checkpoint of `run`.
        start: starts the learner.

    Returns:
        The summary, as written to summary.json.

    Raises:
        CheckpointInvalid: `resume` finds no checkpoint that can be used.
    """
    driven = plant or make_twin(config, config.run.seed)

    def make_trainer(config: Config, view: View) -> Trainer:
        try:
            return Trainer(config, run, view, stop, driven, resume, start)
        except BaseException:
            driven.robot.close()
            raise

    if driven.lockstep:
        return make_trainer(config, view).run()
    return _learn_in_real_time(config, run, view, make_trainer)


def _learn_in_real_time(
    config: Config, run: RunFolder, view: View, make_trainer: Callable[[Config, View], Trainer]
) -> dict[str, Any]:
    """As `learn`, on a control thread that never waits for a learner, a disk or a terminal."""
    free = config.learning.model_copy(update={"process": "free"})
    config = config.model_copy(update={"learning": free})
    with SideThread("log") as log, SideThread("view", CLOSE_S) as screen:
        view = BackgroundView(view, screen)
        trainer = make_trainer(config, view)
        with on_time(CONTROL_PRIORITY) as granted:
            for text in granted.refused:
                view.message(f"not quite on time: {text}")
            run.write_with(log.do)
            try:
                run.event("on_time", scheduler=granted.scheduler, memory=granted.memory)
                return trainer.run()
            finally:
                log.close()
                run.write_with(None)
