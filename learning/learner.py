# SPDX-License-Identifier: MIT
"""The learner: one SAC per task on one replay, with multipliers, counters and their state.

    add (every step) --> replay --> update (n gradient steps, tasks in turn) --> policy (live view)
                                                      end_episode --> multipliers of that task

Invariant: the same seed and the same calls give the same bytes, also across save and load.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Literal, TypedDict

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray

from walkhome.learning.constraint import ConstraintConfig, Multipliers, make_multipliers
from walkhome.learning.cuda_sac import CudaSac
from walkhome.learning.fused.fast_sac import FastSac
from walkhome.learning.fused.kernels import Kernels
from walkhome.learning.networks import NetworkSizes
from walkhome.learning.policy import NumpyPolicy
from walkhome.learning.replay import Batch, Floats, Replay
from walkhome.learning.sac import Sac, SacConfig
from walkhome.learning.symmetry import Symmetry
from walkhome.learning.transition import Transition
from walkhome.native.compiled import NotCompiled

STATE_VERSION = 1
SHARED = "shared"
"""Name under which the one network of all tasks is saved."""


class LearnerState(TypedDict):
    """Everything that evolves except the replay, which is rebuilt from the journal."""

    tensors: dict[str, NDArray[np.generic]]
    scalars: dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class LearnerConfig:
    """Settings of a learner of several tasks.

    Raises:
        ValueError: A setting is unknown, or two of them contradict each other.
    """

    sac: SacConfig
    constraint: ConstraintConfig
    replay_capacity: int
    """Transitions kept."""
    relabel: bool
    """Every task learns from every transition; otherwise only from those of its own episodes."""
    shared_network: bool
    """One network and temperature for all tasks, with a one-hot task input; otherwise one each."""
    backend: Literal["fast", "plain"]
    """Gradients by hand (`fused.fast_sac`) or autograd (`sac`): same mathematics, same states."""
    precision: Literal["float32", "bfloat16"]
    """Of the factors of the fast backend's matrix products; parameters and sums are float32."""
    device: Literal["cpu", "cuda"]
    """`cuda` runs the update as a CUDA graph (`cuda_sac`) in float32, whatever the backend."""

    def __post_init__(self) -> None:
        if self.replay_capacity < self.sac.batch_size:
            raise ValueError(
                f"replay_capacity {self.replay_capacity} holds no batch of {self.sac.batch_size}"
            )
        if self.backend not in ("fast", "plain"):
            raise ValueError(f"backend must be fast or plain, got {self.backend!r}")
        if self.precision not in ("float32", "bfloat16"):
            raise ValueError(f"precision must be float32 or bfloat16, got {self.precision!r}")
        if self.device not in ("cpu", "cuda"):
            raise ValueError(f"device must be cpu or cuda, got {self.device!r}")


class Learner:
    """Learns several tasks from one stream of transitions, in the calling process.

    Args:
        config: Settings.
        tasks: Names of the tasks, each once.
        sizes: Sizes of the observations, actions and costs of the transitions.
        seed: Seed of the initial weights and of all random numbers after them.
        symmetries: Reflections under which a transition stays true; see `Replay`.
        make_sac: Constructor of one task's SAC, in place of the one that `backend` and `device`
            choose: `make_sac(config.sac, sizes, seed)`.

    Raises:
        ValueError: No task, or one that is there twice.

    Attributes:
        tasks: Their names; indices follow this order.
        replay: The stored transitions.
        gradient_steps: Gradient steps done, over all tasks.
        slow_because: Why the plain backend runs although the fast one was configured, or "".
    """

    def __init__(
        self,
        config: LearnerConfig,
        tasks: tuple[str, ...],
        sizes: NetworkSizes,
        seed: int,
        symmetries: Sequence[Symmetry] = (),
        make_sac: Callable[..., Sac] | None = None,
    ) -> None:
        if not tasks or len(set(tasks)) != len(tasks):
            raise ValueError(f"tasks must be named, each once, got {tasks}")
        self.config = config
        self.tasks = tuple(tasks)
        self.replay = Replay(
            config.replay_capacity,
            sizes.observation,
            sizes.action,
            len(tasks),
            sizes.constraints,
            symmetries,
        )
        seeds = np.random.SeedSequence(seed).spawn(len(tasks) + 1)
        self._rng = np.random.default_rng(seeds[0])
        self.slow_because = ""
        if make_sac is None:
            make_sac, self.slow_because = _choose_sac(config)
        # What each task's network reads besides the observation: (0,), or (n_tasks,) one-hot.
        code_size = len(tasks) if config.shared_network else 0
        self._task_codes = np.eye(len(tasks), dtype=np.float32)[:, :code_size]
        self._sacs = [
            make_sac(
                config.sac,
                replace(sizes, observation=sizes.observation + code_size),
                int(s.generate_state(1, np.uint64)[0] >> 1),
            )
            for s in seeds[1 : 2 if config.shared_network else None]
        ]
        self._multipliers = [make_multipliers(config.constraint, sizes.constraints) for _ in tasks]
        self._turn = 0
        self.gradient_steps = 0
        self._learned = tuple(range(len(tasks)))

    def learn_only(self, tasks: Sequence[str]) -> None:
        """Do the gradient steps of these tasks only; other learners do those of the others.

        Learners of the same configuration and the same calls, between which the tasks are divided,
        give together the same bytes as one learner: each draws all the random numbers that the
        tasks share, and does the arithmetic of its own tasks.

        Raises:
            ValueError: A task is unknown, or one network serves all tasks and can't be divided.
        """
        if self.config.shared_network and set(tasks) != set(self.tasks):
            raise ValueError("tasks of one shared network can't be divided between learners")
        self._learned = tuple(self._index(task) for task in tasks)

    @property
    def learned_tasks(self) -> tuple[str, ...]:
        """The tasks whose gradient steps are done here."""
        return tuple(self.tasks[index] for index in self._learned)

    def add(self, transition: Transition) -> None:
        """Store one transition of experience.

        Raises:
            ValueError: Its task is unknown, or a number has the wrong size or is not finite.
        """
        self.replay.add(transition, self._index(transition.task))

    def update(self, n_updates: int) -> int:
        """Do gradient steps, one task after the other; skips a task with less than one batch.

        Returns:
            The number done: `n_updates`, or 0 while no task has a batch.
        """
        size = self.config.sac.batch_size
        for i in range(n_updates):
            task = self._next_task(size)
            if task is None:
                return i
            self.gradient_steps += 1
            if task not in self._learned:
                self.replay.draw(self._rng, size, task, only_own=not self.config.relabel)
                continue
            batch = self.replay.sample(self._rng, size, task, only_own=not self.config.relabel)
            if self.config.shared_network:
                batch = _with_task(batch, self._task_codes[task])
            self._sac(task).update(batch, self._multipliers[task].values)
        return n_updates

    def forget(self) -> None:
        """Empty the replay; weights and multipliers stay."""
        self.replay.clear()

    def refresh(self) -> None:
        """Do nothing: the policies act on the live weights."""

    def drain(self) -> None:
        """Do nothing: each call is complete when it returns."""

    def status(self) -> None:
        """None: this learner has no lag."""

    def notices(self) -> list[str]:
        """An empty list: this learner has no process to report on."""
        return []

    def close(self) -> None:
        """Do nothing: this learner holds only memory."""

    def end_episode(self, task: str, mean_costs: ArrayLike) -> None:
        """Update the multipliers of one task; those of the others do not change.

        Args:
            task: Task whose episode ended.
            mean_costs: (K,) mean costs per step of the episode, in units of the budgets.

        Raises:
            ValueError: The task is unknown, or the costs have the wrong size.
        """
        self._multipliers[self._index(task)].update(mean_costs)

    def multipliers(self, task: str) -> NDArray[np.float64]:
        """(K,) copy of the task's multipliers."""
        return self._multipliers[self._index(task)].values

    def policy(self, task: str) -> NumpyPolicy:
        """The task's policy as a view of the live weights, which changes with every update.

        Only for the thread that calls `update`; other threads need a copy.
        """
        index = self._index(task)
        actor = self._sac(index).host_actor
        layers = [
            (weight.detach().numpy(), bias.detach().numpy())
            for weight, bias in zip(actor.weights, actor.biases, strict=True)
        ]
        return NumpyPolicy(layers, actor.log_std_range, self._task_codes[index])

    def metrics(self) -> dict[str, dict[str, float | list[float]]]:
        """Per task: alpha, lambda, q_mean, critic_loss, entropy (nats), updates, rejected_costs."""
        result: dict[str, dict[str, float | list[float]]] = {}
        for index, (task, multipliers) in enumerate(
            zip(self.tasks, self._multipliers, strict=True)
        ):
            result[task] = {
                **self._sac(index).metrics(),
                "lambda": multipliers.values.tolist(),
                "rejected_costs": float(multipliers.rejected.sum()),
            }
        return result

    def finite(self) -> bool:
        """True if every number that acts or learns is finite; do not publish others."""
        return all(sac.finite() for sac in self._sacs)

    def state_dict(self) -> LearnerState:
        """Copies of everything that evolves: arrays by name, and scalars that JSON can hold.

        The replay is not included: add its transitions again in their order, then load the state.
        """
        tensors: dict[str, NDArray[np.generic]] = {}
        for prefix, part in self._parts():
            tensors.update({prefix + k: v for k, v in part.state_dict().items()})
        scalars = {
            "version": STATE_VERSION,
            "tasks": list(self.tasks),
            "constraint_kind": self.config.constraint.kind,
            "shared_network": self.config.shared_network,
            "gradient_steps": self.gradient_steps,
            "turn": self._turn,
            "rng": self._rng.bit_generator.state,
        }
        return {"tensors": tensors, "scalars": scalars}

    def load_state_dict(self, state: LearnerState) -> None:
        """Continue exactly where `state_dict` was taken.

        Raises:
            ValueError: The state has another version, other tasks or other sizes; nothing has
                changed then.
        """
        before = self.state_dict()
        try:
            self._load(state)
        except (ValueError, KeyError, TypeError, RuntimeError) as error:
            self._load(before)
            raise ValueError(f"the learner's state cannot be used: {error}") from error

    def _load(self, state: LearnerState) -> None:
        scalars, tensors = state["scalars"], state["tensors"]
        expected = {
            "version": STATE_VERSION,
            "tasks": list(self.tasks),
            "constraint_kind": self.config.constraint.kind,
            "shared_network": self.config.shared_network,
        }
        for name, value in expected.items():
            if scalars.get(name) != value:
                raise ValueError(
                    f"the state's {name} is {scalars.get(name)!r}, this learner's is {value!r}: "
                    "resume with the configuration that saved it"
                )
        known: set[str] = set()
        for prefix, part in self._parts():
            own = {k[len(prefix) :]: v for k, v in tensors.items() if k.startswith(prefix)}
            known.update(prefix + k for k in own)
            part.load_state_dict(own)
        if known != set(tensors):
            raise ValueError(f"the state holds unknown tensors: {sorted(set(tensors) - known)}")
        self._rng.bit_generator.state = scalars["rng"]
        self.gradient_steps = int(scalars["gradient_steps"])
        self._turn = int(scalars["turn"])

    def _parts(self) -> list[tuple[str, Sac | Multipliers]]:
        """Everything with a state of its own, with the prefix of its names in `state_dict`."""
        names = [SHARED] if self.config.shared_network else self.tasks
        sacs = ((f"{name}.sac.", sac) for name, sac in zip(names, self._sacs, strict=True))
        multipliers = zip(self.tasks, self._multipliers, strict=True)
        return [*sacs, *((f"{task}.multipliers.", m) for task, m in multipliers)]

    def _sac(self, index: int) -> Sac:
        return self._sacs[0 if self.config.shared_network else index]

    def _index(self, task: str) -> int:
        try:
            return self.tasks.index(task)
        except ValueError:
            raise ValueError(f"unknown task {task!r}: this learner has {self.tasks}") from None

    def _next_task(self, batch_size: int) -> int | None:
        for offset in range(len(self.tasks)):
            task = (self._turn + offset) % len(self.tasks)
            available = len(self.replay) if self.config.relabel else self.replay.own_size(task)
            if available >= batch_size:
                self._turn = (task + 1) % len(self.tasks)
                return task
        return None


def _choose_sac(config: LearnerConfig) -> tuple[Callable[..., Sac], str]:
    """Constructor of one task's SAC, and why it is not the fast one although configured."""
    if config.device == "cuda":
        return CudaSac, ""
    if config.backend == "plain":
        return Sac, ""
    half = config.precision == "bfloat16"
    try:
        Kernels(torch.bfloat16 if half else torch.float32)
    except NotCompiled as error:
        return Sac, str(error)
    return partial(FastSac, half=half), ""


def _with_task(batch: Batch, task_code: Floats) -> Batch:
    """The batch with the (n_tasks,) task code appended to every observation."""
    code = np.broadcast_to(task_code, (len(batch.reward), len(task_code)))
    observation = np.concatenate((batch.observation, code), 1)
    return replace(
        batch,
        observation=observation,
        observation_action=np.concatenate((observation, batch.action), 1),
        next_observation=np.concatenate((batch.next_observation, code), 1),
    )
