# SPDX-License-Identifier: MIT
"""`Sac` on a CUDA device: the update is captured once as a CUDA graph, then replayed.

    batch, noise, multipliers --> pinned memory --> one copy --> graph --> actor back to the host

An update is about a hundred small kernels, and launching them one by one takes most of the time; a
graph launches them together (https://pytorch.org/blog/accelerating-pytorch-with-cuda-graphs/). The
random numbers are those of `Sac`, drawn on the host, so the two differ by rounding only, and a
state of either loads into the other. Matrix products are in float32.

Invariant: a graph reads and writes the addresses that it was captured with, so its tensors are only
written in place, never replaced.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from walkhome.learning.networks import Actor, NetworkSizes
from walkhome.learning.replay import Batch
from walkhome.learning.sac import Sac, SacConfig, TensorBatch

WARM_UPS = 3
"""Updates before a capture, in which the libraries choose their kernels; undone afterwards."""


class NoCuda(Exception):  # noqa: N818 - a state of affairs, not a mistake
    """There is no CUDA device that this PyTorch can use; the message says why."""


@dataclass(frozen=True)
class _Captured:
    graph: torch.cuda.CUDAGraph
    last: dict[str, Tensor]


class CudaSac(Sac):
    """Drop-in for `Sac` on a CUDA device.

    Args:
        config: See `Sac`.
        sizes: See `Sac`.
        seed: See `Sac`.
        device: The device; any other than a CUDA device runs without graphs (for tests).

    Raises:
        NoCuda: There is no usable CUDA device.
    """

    def __init__(
        self,
        config: SacConfig,
        sizes: NetworkSizes,
        seed: int,
        device: str = "cuda",
    ) -> None:
        super().__init__(config, sizes, seed)
        self.device = torch.device(device)
        self._graphed = self.device.type == "cuda"
        if self._graphed and (why := why_no_cuda()):
            raise NoCuda(why)
        self._host_actor = _copy_of(self.actor, [_pinned(t) for t in self.actor.parameters])
        self.actor = _copy_of(self.actor, [self._there(t) for t in self.actor.parameters])
        self.critics.parameters = [self._there(t) for t in self.critics.parameters]
        self.targets = [self._there(t) for t in self.targets]
        self.log_alpha = self._there(self.log_alpha)
        self._make_optimisers(capturable=self._graphed)
        self._stages: dict[int, _Stage] = {}
        self._graphs: dict[tuple[int, bool], _Captured] = {}
        self._aside: torch.cuda.Stream | None = None
        self._noises: Iterator[Tensor] = iter(())

    @property
    def host_actor(self) -> Actor:
        """Return the actor on the host; see `Sac.host_actor`."""
        return self._host_actor

    def update(self, batch: Batch, multipliers: NDArray[np.float64]) -> None:
        """One gradient step on everything; see `Sac.update`.

        Args:
            batch: Transitions with this task's reward; read, not kept.
            multipliers: (K,) one per constraint, each at least 0.
        """
        n = len(batch.not_done)
        if n not in self._stages:
            self._stages[n] = _Stage(batch, self.sizes.constraints, self.sizes.action, self.device)
        stage = self._stages[n]
        learns_actor = (self.updates + 1) % self.config.actor_every == 0
        stage.take(batch, multipliers, learns_actor, self.generator)
        if self._graphed:
            self._replay(stage, n, learns_actor)
        else:
            self._learn_from(stage, learns_actor)
        self.updates += 1
        if learns_actor:
            self._bring_actor()
        self._wait()

    def load_state_dict(self, state: Mapping[str, NDArray[np.generic]]) -> None:
        """Continue exactly where `state_dict` was taken, here or in `Sac`.

        Raises:
            ValueError: A tensor is missing, unknown, or has another shape or type.
        """
        super().load_state_dict(state)
        self._graphs.clear()  # the moments have new addresses
        self._bring_actor()
        self._wait()

    def _there(self, tensor: Tensor) -> Tensor:
        moved = tensor.detach().to(self.device, copy=True)
        return moved.requires_grad_(tensor.requires_grad)

    def _bring_actor(self) -> None:
        with torch.no_grad():
            for mine, theirs in zip(
                self._host_actor.parameters, self.actor.parameters, strict=True
            ):
                mine.copy_(theirs, non_blocking=True)

    def _wait(self) -> None:
        """Wait until the host's actor may be read and the pinned memory be written again."""
        if self._graphed:
            torch.cuda.current_stream(self.device).synchronize()

    def _noise(self, n: int) -> Tensor:
        return next(self._noises)

    def _learn_from(self, stage: _Stage, learns_actor: bool) -> None:
        self._noises = iter((stage.next_noise, stage.noise))
        self._learn(stage.batch, learns_actor)

    # -- the graph ---------------------------------------------------------------------------------

    def _replay(self, stage: _Stage, n: int, learns_actor: bool) -> None:
        key = n, learns_actor
        if key not in self._graphs:
            self._graphs[key] = self._capture(stage, learns_actor)
        captured = self._graphs[key]
        captured.graph.replay()
        self._last.update(captured.last)

    def _capture(self, stage: _Stage, learns_actor: bool) -> _Captured:
        before = {name: t.detach().clone() for name, t in self._evolving().items()}
        here = torch.cuda.current_stream(self.device)
        if self._aside is None:
            self._aside = torch.cuda.Stream(self.device)  # type: ignore[no-untyped-call]
        self._aside.wait_stream(here)
        with torch.cuda.stream(self._aside):
            for _ in range(WARM_UPS):
                self._learn_from(stage, learns_actor)
        here.wait_stream(self._aside)
        graph, self._last = torch.cuda.CUDAGraph(), {}
        # Capture on the stream of the warm-ups, on which autograd accumulates the gradients.
        with torch.cuda.graph(graph, stream=self._aside):
            self._learn_from(stage, learns_actor)
        self._undo(before)
        return _Captured(graph, self._last.copy())

    def _evolving(self) -> dict[str, Tensor]:
        """All tensors that an update changes, Adam's moments included, by name."""
        named = self.tensors()
        names = {id(tensor): name for name, tensor in named.items()}
        for optimiser in (self._critic_optimiser, self._actor_optimiser):
            for p, moments in optimiser.state.items():
                named |= {f"{names[id(p)]}.{key}": value for key, value in moments.items()}
        return named

    def _undo(self, before: Mapping[str, Tensor]) -> None:
        """Restore the tensors; moments that did not exist before become zero."""
        with torch.no_grad():
            for name, tensor in self._evolving().items():
                if name in before:
                    tensor.copy_(before[name])
                else:
                    tensor.zero_()


class _Stage:
    """Buffers for one batch, its noise and multipliers; one copy brings them to the device.

    Attributes:
        batch: The batch on the device, as views of one buffer.
        next_noise, noise: (N, A) noise for the next actions and for the actor's step.
    """

    def __init__(
        self, like: Batch, n_constraints: int, n_actions: int, device: torch.device
    ) -> None:
        n = len(like.not_done)
        shapes = {
            "observation_action": like.observation_action.shape,
            "next_observation": like.next_observation.shape,
            "reward": (n,),
            "cost": (n, n_constraints),
            "not_done": (n,),
            "next_noise": (n, n_actions),
            "noise": (n, n_actions),
            "multipliers": (n_constraints,),
        }
        host = torch.zeros(sum(math.prod(shape) for shape in shapes.values()))
        self._all_host = _pinned(host)
        self._all_there = host.to(device, copy=True)
        self._host = _parts(self._all_host, shapes)
        there = _parts(self._all_there, shapes)
        self.next_noise, self.noise = there.pop("next_noise"), there.pop("noise")
        observation = there["observation_action"][:, : like.observation.shape[1]]
        self.batch = TensorBatch(observation=observation, **there)

    def take(
        self,
        batch: Batch,
        multipliers: NDArray[np.float64],
        learns_actor: bool,
        generator: torch.Generator,
    ) -> None:
        """Copy a batch to the device, with as many random numbers as `Sac` draws."""
        for name, part in self._host.items():
            if name == "multipliers":
                part.copy_(torch.from_numpy(multipliers))
            elif name == "next_noise" or (name == "noise" and learns_actor):
                part.normal_(generator=generator)
            elif name != "noise":
                part.copy_(torch.from_numpy(getattr(batch, name)))
        self._all_there.copy_(self._all_host, non_blocking=True)


def why_no_cuda() -> str:
    """Why CUDA can't be used and what to do, or "" if there is a CUDA device."""
    if torch.cuda.is_available():
        return ""
    if torch.version.cuda is None:
        return "this PyTorch was built without CUDA: install one with it, or use the processor"
    return "PyTorch finds no CUDA device: check the driver (nvidia-smi), or use the processor"


def _pinned(tensor: Tensor) -> Tensor:
    """A copy in page-locked memory, for asynchronous transfers; ordinary memory without CUDA."""
    made = tensor.detach().clone()
    return made.pin_memory() if torch.cuda.is_available() else made


def _copy_of(actor: Actor, parameters: list[Tensor]) -> Actor:
    made = copy.copy(actor)
    layers = len(actor.weights)
    made.weights, made.biases = parameters[:layers], parameters[layers:]
    return made


def _parts(flat: Tensor, shapes: Mapping[str, tuple[int, ...]]) -> dict[str, Tensor]:
    """Views of consecutive parts of a flat tensor."""
    lengths = [math.prod(shape) for shape in shapes.values()]
    return {
        name: part.view(shape)
        for (name, shape), part in zip(shapes.items(), torch.split(flat, lengths), strict=True)
    }
