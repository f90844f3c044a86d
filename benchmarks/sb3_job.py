# SPDX-License-Identifier: MIT
"""One run of a study, like `robot.ablation.job`, with Stable-Baselines3's SAC as the learner.

There is one agent per task, built on `walkhome/Walk-v0`, and one robot. Stable-Baselines3's own
`learn` handles one task and calls `reset` itself, so the loop of `robot learn` does its work (act,
store, train); scheduler, stand-up, reward, counting and evaluation are the same for all learners.
An agent learns from its own episodes, `learning.updates_per_step` times per step. Settings that it
shares with ours come from the configuration; all others are its defaults.

Such a run can't be resumed: remove the folder of a stopped run first, as
`benchmarks/learn.py --compare` does.
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
        config: The run's configuration.
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
        """Store a transition in the buffer of the agent that acted."""
        t = transition
        reward = np.asarray(t.rewards)[list(self._agents).index(t.task)]
        self._acting, buffer = t.task, self._agents[t.task].replay_buffer
        row = (np.asarray(x)[None] for x in (t.observation, t.next_observation, t.action))
        buffer.add(*row, np.array([reward]), np.array([t.done]), [{}])

    def update(self, n_updates: int) -> int:
        """Train the agent that acted, if it has more than its `learning_starts` steps."""
        agent = self._agents[self._acting]
        if agent.replay_buffer.size() <= agent.learning_starts:
            return 0
        agent.train(n_updates, self._batch_size)
        self._heads[self._acting].stale = True
        self.gradient_steps += n_updates
        return n_updates

    def refresh(self) -> None:
        """Copy the trained weights into the policies."""
        for head in self._heads.values():
            head.refresh()

    drain = refresh

    def policy(self, task: str) -> NumpyPolicy:
        """The task's policy; always the same object."""
        return self._heads[task].policy

    def metrics(self) -> dict[str, dict[str, float | list[float]]]:
        """The temperatures; multipliers are zero."""
        return {
            task: {"alpha": float(agent.log_ent_coef.detach().exp()), "lambda": [0.0] * self._k}
            for task, agent in self._agents.items()
        }

    def multipliers(self, task: str) -> NDArray[np.float64]:
        """(K,) zeros: it has no constraints."""
        return np.zeros(self._k)

    def end_episode(self, task: str, mean_costs: ArrayLike) -> None:
        """Do nothing: there are no multipliers."""

    def status(self) -> None:
        """None: it has no lag."""

    def notices(self) -> list[str]:
        """An empty list."""
        return []

    def forget(self) -> None:
        """Empty the buffers."""
        for agent in self._agents.values():
            agent.replay_buffer.reset()

    def finite(self) -> bool:
        """True if every parameter is finite."""
        return all(np.isfinite(x).all() for x in self.state_dict()["tensors"].values())

    def state_dict(self) -> dict[str, Any]:
        """The parameters, for the record; not enough to resume from."""
        tensors = {
            f"{task}.{name}": value.numpy().copy()
            for task, agent in self._agents.items()
            for name, value in agent.policy.state_dict().items()
        }
        return {"tensors": tensors, "scalars": {"gradient_steps": self.gradient_steps}}

    def load_state_dict(self, state: Any) -> None:
        """Always raises ValueError: such a run can't be resumed."""
        raise ValueError("a run of Stable-Baselines3 can't be resumed: remove its folder")

    def close(self) -> None:
        """Do nothing: it holds only memory."""


class _Head:
    """An agent's actor as a `NumpyPolicy`, with mean and log deviation in one last layer."""

    def __init__(self, agent: SAC) -> None:
        actor = agent.actor
        hidden = [m for m in actor.latent_pi if isinstance(m, torch.nn.Linear)]
        self._ends = (actor.mu, actor.log_std)
        self._weight = np.concatenate([_array(end.weight) for end in self._ends])
        self._bias = np.concatenate([_array(end.bias) for end in self._ends])
        layers = [(_array(layer.weight), _array(layer.bias)) for layer in hidden]
        layers.append((self._weight, self._bias))
        # It clips at -20 and not at -10; useful standard deviations are far larger than both.
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
    """Create the agent of one task, with the spaces of the environment."""
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
    """Create the learner of a run, as `robot.ablation.job` asks for it."""
    return Sb3Learner(config)


def main() -> int:
    """Run `robot.ablation.job` with this learner; returns the exit code."""
    return job.main(start)


if __name__ == "__main__":
    sys.exit(main())
