# SPDX-License-Identifier: MIT
"""Learned policies, run with NumPy only: the control process needs no torch to act.

A policy is a list of (weight, bias) arrays. They are views of a learner's live tensors in the same
process, so that the newest weights act without a copy, or come from `policy.safetensors`:

    keys       <task>.layer<i>.weight (out, in) and <task>.layer<i>.bias (out,), float32
    metadata   walkhome = JSON that the caller chooses, with log_std_range added

The last layer has 2 A outputs: mean and log standard deviation of the action before the tanh.
"""

from __future__ import annotations

import json
import math
import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float32]
Layer = tuple[Floats, Floats]

_KEY = re.compile(r"(?P<task>.+)\.layer(?P<index>\d+)\.(?P<kind>weight|bias)")


class PolicyInvalid(ValueError):  # noqa: N818 (what it is, not that it is one)
    """A policy file or array is unusable; the message says what, where, and what to do next."""


class NumpyPolicy:
    """Runs one task's actor. Not thread-safe: it computes in its own buffers.

    Args:
        layers: (weight (out, in), bias (out,)) float32, input side first; used without a copy.
        log_std_range: Bounds of the log standard deviation.
        task_code: Constants appended to every observation.

    Raises:
        PolicyInvalid: Shapes do not chain, a type is wrong, or a number is not finite.

    Attributes:
        layers: (weight (out, in), bias (out,)) float32, input side first.
        observation_size: O.
        action_size: A.
        task_code: Constants appended to every observation (a one-hot task for a shared network).
    """

    def __init__(
        self,
        layers: Sequence[Layer],
        log_std_range: tuple[float, float] = (-10.0, 2.0),
        task_code: ArrayLike = (),
    ) -> None:
        _check_layers("policy", layers)
        self.layers = list(layers)
        self.log_std_range = log_std_range
        self.task_code = np.array(task_code, np.float32)
        self.observation_size = int(layers[0][0].shape[1]) - len(self.task_code)
        self.action_size = int(layers[-1][1].shape[0]) // 2
        self._input = np.concatenate((np.zeros(self.observation_size, np.float32), self.task_code))
        self._outputs = [np.zeros(bias.shape, np.float32) for _, bias in layers]

    def act(
        self,
        observation: ArrayLike,
        deterministic: bool,
        rng: np.random.Generator | None = None,
        noise: ArrayLike | None = None,
    ) -> NDArray[np.float64]:
        """Compute the action for one observation.

        Args:
            observation: (O,) scaled as in training.
            deterministic: Return tanh(mean) instead of a sample.
            rng: Random numbers; needed unless `deterministic` or with `noise`.
            noise: (A,) standard normal numbers to use instead, for noise correlated over time.

        Returns:
            (A,) float64 in [-1, 1], a new array.

        Raises:
            ValueError: The observation is not finite or has the wrong size, or a sample is asked
                for without `rng` and `noise`.
            PolicyInvalid: The action is not finite, because the weights are damaged.
        """
        x: Floats = self._input
        n, array = self.observation_size, np.asarray(observation)
        if array.shape != (n,):
            raise ValueError(f"observation has shape {array.shape}, the policy expects {(n,)}")
        x[:n] = array
        if not np.isfinite(x).all():
            bad = np.flatnonzero(~np.isfinite(x)).tolist()
            raise ValueError(f"observation is not finite at {bad}")
        last = len(self.layers) - 1
        for i, (weight, bias) in enumerate(self.layers):
            y = self._outputs[i]
            np.dot(weight, x, out=y)
            y += bias
            if i < last:
                np.maximum(y, 0.0, out=y)
            x = y
        u = x[: self.action_size].astype(np.float64)
        if not deterministic:
            if noise is None:
                if rng is None:
                    raise ValueError("a stochastic action needs rng or noise")
                noise = rng.standard_normal(self.action_size)
            log_std = np.clip(x[self.action_size :].astype(np.float64), *self.log_std_range)
            u += np.exp(log_std) * np.asarray(noise, dtype=np.float64)
        action: NDArray[np.float64] = np.tanh(u)
        if not np.isfinite(action).all():
            raise PolicyInvalid(
                "the policy's action is not finite: its weights are damaged; "
                "stop the robot and load the last checkpoint"
            )
        return action


def save_policies(
    path: str | os.PathLike[str],
    policies: Mapping[str, NumpyPolicy],
    metadata: Mapping[str, Any],
) -> None:
    """Write the policies of several tasks into one file.

    Args:
        path: File to create or replace (not atomically).
        policies: By task name.
        metadata: JSON-able; stored under `walkhome`.

    Raises:
        PolicyInvalid: There is no policy, or a weight is not finite; nothing is written.
        OSError: The file can't be written.
    """
    Path(path).write_bytes(policies_bytes(policies, metadata))


def policies_bytes(policies: Mapping[str, NumpyPolicy], metadata: Mapping[str, Any]) -> bytes:
    """The content of the file that `save_policies` writes.

    A task code is folded into the bias of the first layer, so a file's policies need none.

    Raises:
        PolicyInvalid: There is no policy, or a weight is not finite.
    """
    from safetensors.numpy import save

    if not policies:
        raise PolicyInvalid("no policy to write")
    tensors: dict[str, NDArray[Any]] = {}
    for task, policy in policies.items():
        _check_layers(f"policy of task {task!r}", policy.layers)
        for i, (weight, bias) in enumerate(policy.layers):
            if i == 0 and len(policy.task_code):
                n = policy.observation_size
                weight, bias = weight[:, :n], bias + weight[:, n:] @ policy.task_code
            tensors[f"{task}.layer{i}.weight"] = np.ascontiguousarray(weight)
            tensors[f"{task}.layer{i}.bias"] = np.ascontiguousarray(bias)
    # One key only: with two, the order in which safetensors writes them differs from run to run.
    log_std_range = list(next(iter(policies.values())).log_std_range)
    description = json.dumps({**metadata, "log_std_range": log_std_range})
    return bytes(save(tensors, metadata={"walkhome": description}))


def load_policies(
    path: str | os.PathLike[str],
) -> tuple[dict[str, NumpyPolicy], dict[str, Any]]:
    """Read a file of `save_policies` and check everything in it.

    Returns:
        The policies by task, and the metadata.

    Raises:
        PolicyInvalid: The file is missing, incomplete, of another kind, or has unusable numbers.
    """
    from safetensors import SafetensorError, safe_open

    advice = "choose another checkpoint or learn again"
    try:
        with safe_open(os.fspath(path), framework="numpy") as file:
            header = file.metadata() or {}
            arrays = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
    except (OSError, SafetensorError, ValueError) as error:
        raise PolicyInvalid(f"cannot read policy {path}: {error}; {advice}") from error
    try:
        metadata = json.loads(header["walkhome"])
        low, high = metadata["log_std_range"]
    except (KeyError, TypeError, ValueError) as error:
        raise PolicyInvalid(
            f"policy {path} lacks its description ({error!r}): not written by this program; "
            f"{advice}"
        ) from error
    if not (isinstance(low, float) and isinstance(high, float) and low < high):
        raise PolicyInvalid(f"policy {path} has log_std_range {low}, {high}; {advice}")
    if not isinstance(metadata, dict):
        raise PolicyInvalid(f"policy {path}: its description is not a JSON object; {advice}")
    found: dict[str, dict[tuple[int, str], NDArray[Any]]] = {}
    for key, array in arrays.items():
        match = _KEY.fullmatch(key)
        if match is None:
            raise PolicyInvalid(f"policy {path} holds an unknown tensor {key!r}; {advice}")
        layer = (int(match["index"]), match["kind"])
        found.setdefault(match["task"], {})[layer] = array
    if not found:
        raise PolicyInvalid(f"policy {path} is empty; {advice}")
    policies = {}
    for task, parts in found.items():
        where = f"policy {path}, task {task!r}"
        n = len(parts) // 2
        if set(parts) != {(i, kind) for i in range(n) for kind in ("weight", "bias")}:
            raise PolicyInvalid(f"{where}: layers are missing, has {sorted(parts)}; {advice}")
        layers = [(parts[i, "weight"], parts[i, "bias"]) for i in range(n)]
        _check_layers(where, layers)
        policies[task] = NumpyPolicy(layers, (low, high))
    if len({(p.observation_size, p.action_size) for p in policies.values()}) != 1:
        raise PolicyInvalid(f"policy {path}: its tasks differ in input or output size; {advice}")
    return policies, metadata


def _check_layers(where: str, layers: Sequence[Layer]) -> None:
    advice = "the weights are unusable; choose another checkpoint or learn again"
    if not layers:
        raise PolicyInvalid(f"{where} has no layers; {advice}")
    size = None
    for i, (weight, bias) in enumerate(layers):
        at = f"{where}, layer {i}"
        if weight.dtype != np.float32 or bias.dtype != np.float32:
            raise PolicyInvalid(f"{at}: {weight.dtype} and {bias.dtype}, not float32; {advice}")
        if weight.ndim != 2 or bias.shape != (weight.shape[0],) or 0 in weight.shape:
            raise PolicyInvalid(f"{at}: weight {weight.shape}, bias {bias.shape}; {advice}")
        if size is not None and weight.shape[1] != size:
            raise PolicyInvalid(f"{at}: takes {weight.shape[1]} but is given {size}; {advice}")
        # A sum is finite only if all terms are; this keeps the check cheap enough to repeat.
        if not (math.isfinite(weight.sum()) and math.isfinite(bias.sum())):
            raise PolicyInvalid(f"{at}: a weight is not finite; {advice}")
        size = weight.shape[0]
    if size is None or size % 2:
        raise PolicyInvalid(f"{where}: the head has {size} outputs, not twice a number; {advice}")
