# SPDX-License-Identifier: MIT
"""One run of a study as `robot.ablation.job` makes it, but Stable-Baselines3's SAC learns in it.

One agent per task, built on `walkhome/Walk-v0`, all fed from one robot: its own `learn` knows one
task and calls `reset` itself, so the loop of `robot learn` does what that would do (act, store,
train), and scheduler, stand-up, reward, counting and evaluation are the same for everybody. An
agent learns from its own episodes, `learning.updates_per_step` times per step. The keys that it
shares with ours come from the configuration; all else are its defaults.

It can't resume: whoever starts it removes what a stopped run left. `benchmarks/learn.py --compare`
does.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from stable_baselines3 import SAC
from stable_baselines3.common.logger import Logger

from walkhome.learning.policy import NumpyPolicy
from walkhome.learning.transition import Transition
from walkhome.robot import gym_env
from walkhome.robot.ablation import job
from walkhome.robot.config.resolve import leaves
from walkhome.robot.config.schema import Config
from walkhome.robot.mdp.costs import n_constraints

BUFFER = 200_000  # more than a run has steps; the default of a million would only take memory


class Sb3Learner:
    """Stable-Baselines3's SAC as a `learning.client.LearnerClient`.

    Args:
        config: of the run.
    """

    slow_because = ""

    def __init__(self, config: Config) -> None:
        torch.set_num_threads(config.learning.torch_threads)
        self._k = n_constraints(config.constraint)
        self._batch_size = config.learning.batch_size
        self._agents = {task: make_agent(config, task) for task in config.tasks}
        self._heads = {task: _Head(agent) for task, agent in self._agents.items()}
        self._acting = config.tasks[0]
        self.gradient_steps = 0

    def add(self, transition: Transition) -> None:
        """Store a transition with the agent that acted."""
        t = transition
        reward = np.asarray(t.rewards)[list(self._agents).index(t.task)]
        self._acting, buffer = t.task, self._agents[t.task].replay_buffer
        row = (np.asarray(x)[None] for x in (t.observation, t.next_observation, t.action))
        buffer.add(*row, np.array([reward]), np.array([t.done]), [{}])

    def update(self, n_updates: int) -> int:
        """Train the agent that acted, once it has as many steps as it wants to begin with."""
        agent = self._agents[self._acting]
        if agent.replay_buffer.size() <= agent.learning_starts:
            return 0
        agent.train(n_updates, self._batch_size)
        self._heads[self._acting].stale = True
        self.gradient_steps += n_updates
        return n_updates

    def refresh(self) -> None:
        """Copy what was trained into the policies."""
        for head in self._heads.values():
            head.refresh()

    drain = refresh

    def policy(self, task: str) -> NumpyPolicy:
        """The task's actor."""
        return self._heads[task].policy

    def metrics(self) -> dict[str, dict[str, float | list[float]]]:
        """The temperatures."""
        return {
            task: {"alpha": float(agent.log_ent_coef.detach().exp()), "lambda": [0.0] * self._k}
            for task, agent in self._agents.items()
        }

    def multipliers(self, task: str) -> NDArray[np.float64]:
        """It knows no constraint."""
        return np.zeros(self._k)

    def end_episode(self, task: str, mean_costs: ArrayLike) -> None:
        """Nothing to move."""

    def status(self) -> None:
        """Never behind."""

    def notices(self) -> list[str]:
        """Nothing happens to it."""
        return []

    def forget(self) -> None:
        """Empty the buffers."""
        for agent in self._agents.values():
            agent.replay_buffer.reset()

    def finite(self) -> bool:
        """Whether every parameter is."""
        return all(np.isfinite(x).all() for x in self.state_dict()["tensors"].values())

    def state_dict(self) -> dict[str, Any]:
        """The parameters, for the record; not all that it would need to go on."""
        tensors = {
            f"{task}.{name}": value.numpy().copy()
            for task, agent in self._agents.items()
            for name, value in agent.policy.state_dict().items()
        }
        return {"tensors": tensors, "scalars": {"gradient_steps": self.gradient_steps}}

    def load_state_dict(self, state: Any) -> None:
        """Refused: a run begins anew."""
        raise ValueError("a run of Stable-Baselines3 can't be resumed: remove its folder")

    def close(self) -> None:
        """Nothing but memory."""


class _Head:
    """An agent's actor as a `NumpyPolicy`, whose last layer is mean and deviation in one."""

    def __init__(self, agent: SAC) -> None:
        actor = agent.actor
        hidden = [m for m in actor.latent_pi if isinstance(m, torch.nn.Linear)]
        self._ends = (actor.mu, actor.log_std)
        self._weight = np.concatenate([_array(end.weight) for end in self._ends])
        self._bias = np.concatenate([_array(end.bias) for end in self._ends])
        layers = [(_array(layer.weight), _array(layer.bias)) for layer in hidden]
        layers.append((self._weight, self._bias))
        # It clips at -20 and not at -10; no deviation that explores is that small.
        self.policy = NumpyPolicy(layers)
        self.stale = False

    def refresh(self) -> None:
        if self.stale:
            np.concatenate([_array(end.weight) for end in self._ends], out=self._weight)
            np.concatenate([_array(end.bias) for end in self._ends], out=self._bias)
            self.stale = False


def _array(tensor: torch.Tensor) -> NDArray[np.float32]:
    return tensor.detach().numpy()


def make_agent(config: Config, task: str) -> SAC:
    """An agent for the task, on the environment's spaces."""
    values = dict(leaves(config.model_dump(mode="json")))
    control = {key: value for key, value in values.items() if key.startswith("control.")}
    env = gymnasium.make(gym_env.ID, task=task, settings=control)
    learning, number = config.learning, config.tasks.index(task)
    agent = SAC(
        "MlpPolicy",
        env,
        learning_rate=learning.learning_rate,
        buffer_size=BUFFER,
        batch_size=learning.batch_size,
        tau=learning.tau,
        gamma=learning.discount,
        seed=config.run.seed * 1000 + number,
        device="cpu",
    )
    agent.set_logger(Logger(None, []))  # `configure` would leave a folder in /tmp
    return agent


def start(config: Config, run: Path) -> Sb3Learner:
    """What learns in a run."""
    return Sb3Learner(config)


def main() -> int:
    """As `robot.ablation.job`, with another learner."""
    return job.main(start)


if __name__ == "__main__":
    sys.exit(main())
