# SPDX-License-Identifier: MIT
"""Lagrange multipliers, the weights of the constraints' costs against the reward. NumPy only.

    measured mean cost per step, (K,) --> update --> values, (K,) in [lambda_min, lambda_max]

`dual` is projected gradient ascent on the dual problem, alternating with the policy's update (Ha et
al. 2020, arXiv 2002.08550). `pid` reacts sooner and does not wind up (Stooke et al. 2020, arXiv
2007.03964). `fixed` are constants, `off` is zero.

Invariants: the values are always finite. A measurement that is not finite leaves its multiplier
unchanged and is counted in `rejected`; without that check `max(0, nan)`, which is 0 in Python,
would silently switch the constraint off.

The paper's own margin, f_s = min(bound - |pitch|, bound - |roll|) with E[f_s] >= 0, is the cost
-f_s under a budget of 0: the update below then reads lambda <- [lambda - rate E[f_s]]+.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]

_MAX_VIOLATION = 1e6  # keeps the logarithm finite


@dataclass(frozen=True, kw_only=True)
class ConstraintConfig:
    """How multipliers follow the measured cost. Tuples hold one entry per constraint.

    A violation v is (mean cost - budget) / scale, at least -1; above 1 it counts as 1 + log v. So
    an episode spent on the robot's back does not drive the multiplier to its ceiling at once, and a
    larger violation still moves it further.

    Raises:
        ValueError: A setting is out of range or not finite.
    """

    kind: Literal["pid", "dual", "fixed", "off"]
    budgets: tuple[float, ...]
    """Mean cost per step that is allowed."""
    scales: tuple[float, ...] | None
    """Excess cost that counts as a violation of 1; None takes the budget, or 1 if that is zero."""
    initial: tuple[float, ...] | None
    """Multipliers at the start (`dual`, `pid`); None is zero."""
    fixed: tuple[float, ...]
    """The constant multipliers of `fixed`."""
    lambda_min: float
    """Floor of `dual` and `pid`. A positive floor costs nothing while constraints hold and avoids
    relearning the multiplier after each violation."""
    lambda_max: float
    """Ceiling of `dual` and `pid`."""
    proportional: float
    integral: float
    derivative: float
    """Gains of `pid`, per unit of violation."""
    growth: float
    """Relative growth of the integral per unit of violation, in addition to `integral` (`pid`)."""
    smoothing: float
    """Weight of the past in the moving average that the P and D terms see (`pid`), in [0, 1)."""
    dual_rate: float
    """Step of `dual` per unit of violation."""

    def __post_init__(self) -> None:
        if self.kind not in ("pid", "dual", "fixed", "off"):
            raise ValueError(f"kind must be pid, dual, fixed or off, got {self.kind!r}")
        for name in ("budgets", "scales", "initial", "fixed"):
            values = getattr(self, name)
            if values is not None and not all(math.isfinite(v) for v in values):
                raise ValueError(f"{name} must be finite, got {values}")
        for name in ("proportional", "integral", "derivative", "growth", "dual_rate"):
            if not 0.0 <= getattr(self, name) < math.inf:
                raise ValueError(f"{name} must be at least 0, got {getattr(self, name)}")
        if self.kind == "pid" and (self.integral <= 0.0 or self.growth >= 1.0):
            raise ValueError("pid needs integral > 0 and growth < 1")
        if not 0.0 <= self.smoothing < 1.0:
            raise ValueError(f"smoothing must be in [0, 1), got {self.smoothing}")
        if self.scales is not None and not all(s > 0.0 for s in self.scales):
            raise ValueError(f"scales must be positive, got {self.scales}")
        self._check_multipliers()

    def _check_multipliers(self) -> None:
        if not 0.0 < self.lambda_max < math.inf:
            raise ValueError(f"lambda_max must be positive, got {self.lambda_max}")
        if not 0.0 <= self.lambda_min <= self.lambda_max:
            raise ValueError(f"lambda_min must be in [0, lambda_max], got {self.lambda_min}")
        for name in ("initial", "fixed"):
            if not all(0.0 <= v <= self.lambda_max for v in getattr(self, name) or ()):
                raise ValueError(f"{name} must be in [0, lambda_max], got {getattr(self, name)}")


class Multipliers(Protocol):
    """The K multipliers of one task."""

    rejected: NDArray[np.int64]
    """(K,) number of measurements so far that were not finite."""

    @property
    def values(self) -> Floats:
        """(K,) in [0, lambda_max], a new array."""

    def update(self, mean_cost: ArrayLike) -> None:
        """Update with the (K,) mean costs per step of the task's newest episode."""

    def state_dict(self) -> dict[str, NDArray[np.generic]]:
        """Copies of everything that evolves."""

    def load_state_dict(self, state: Mapping[str, NDArray[np.generic]]) -> None:
        """Continue exactly where `state_dict` was taken.

        Raises:
            ValueError: The state does not fit; nothing has changed then.
        """


def make_multipliers(config: ConstraintConfig, n_constraints: int) -> Multipliers:
    """Create the K multipliers of the configured kind.

    Raises:
        ValueError: A tuple of the configuration does not have K entries.
    """
    if config.kind == "off":
        return Constant(np.zeros(n_constraints))
    if config.kind == "fixed":
        return Constant(_vector("fixed", config.fixed, n_constraints))
    return (Dual if config.kind == "dual" else Pid)(config, n_constraints)


class _State:
    """Base class: named arrays of shape (K,), saved and restored together."""

    def __init__(self, n_constraints: int) -> None:
        self.n_constraints = n_constraints
        self.rejected = np.zeros(n_constraints, np.int64)

    def _arrays(self) -> dict[str, NDArray[np.generic]]:
        return {"rejected": self.rejected}

    def _usable(self, mean_cost: ArrayLike) -> tuple[Floats, NDArray[np.bool_]]:
        cost = np.asarray(mean_cost, np.float64)
        if cost.shape != (self.n_constraints,):
            raise ValueError(f"mean_cost has shape {cost.shape}, expected ({self.n_constraints},)")
        usable = np.isfinite(cost)
        self.rejected += ~usable
        return np.where(usable, cost, 0.0), usable

    def state_dict(self) -> dict[str, NDArray[np.generic]]:
        """Copies of everything that evolves."""
        return {name: array.copy() for name, array in self._arrays().items()}

    def load_state_dict(self, state: Mapping[str, NDArray[np.generic]]) -> None:
        """Continue exactly where `state_dict` was taken.

        Raises:
            ValueError: The state does not fit; nothing has changed then.
        """
        arrays = self._arrays()
        if set(state) != set(arrays):
            raise ValueError(f"multipliers have {sorted(arrays)}, the state has {sorted(state)}")
        for name, array in arrays.items():
            new = state[name]
            if new.shape != array.shape or new.dtype != array.dtype:
                raise ValueError(f"{name} is {new.dtype} {new.shape}, expected {array.shape}")
            if not np.isfinite(new.astype(np.float64)).all():
                raise ValueError(f"{name} is not finite: {new}")
        for name, array in arrays.items():
            array[...] = state[name]


class Constant(_State):
    """Multipliers that never change."""

    def __init__(self, constants: Floats) -> None:
        super().__init__(len(constants))
        self._values = constants.astype(np.float64)

    @property
    def values(self) -> Floats:
        """(K,), a new array."""
        return np.array(self._values)

    def update(self, mean_cost: ArrayLike) -> None:
        """Count measurements that are not finite; the values stay."""
        self._usable(mean_cost)


class _Measured(_State):
    def __init__(self, config: ConstraintConfig, n_constraints: int) -> None:
        super().__init__(n_constraints)
        self._config = config
        self._budgets = _vector("budgets", config.budgets, n_constraints)
        if config.scales is None:
            self._scales = np.where(self._budgets > 0.0, self._budgets, 1.0)
        else:
            self._scales = _vector("scales", config.scales, n_constraints)
        initial = (0.0,) * n_constraints if config.initial is None else config.initial
        self._initial = np.maximum(_vector("initial", initial, n_constraints), config.lambda_min)

    def _violation(self, mean_cost: ArrayLike) -> tuple[Floats, NDArray[np.bool_]]:
        cost, usable = self._usable(mean_cost)
        with np.errstate(over="ignore"):
            violation = (cost - self._budgets) / self._scales
        violation = np.clip(violation, -1.0, _MAX_VIOLATION)
        return np.where(
            violation > 1.0, 1.0 + np.log(np.maximum(violation, 1.0)), violation
        ), usable


class Dual(_Measured):
    """Projected ascent: lambda <- clip(lambda + rate * violation, lambda_min, lambda_max)."""

    def __init__(self, config: ConstraintConfig, n_constraints: int) -> None:
        super().__init__(config, n_constraints)
        self._values = self._initial.copy()

    @property
    def values(self) -> Floats:
        """(K,) in [lambda_min, lambda_max], a new array."""
        return np.array(self._values)

    def update(self, mean_cost: ArrayLike) -> None:
        """Update with the (K,) mean costs per step of the task's newest episode."""
        violation, usable = self._violation(mean_cost)
        moved = self._values + self._config.dual_rate * violation
        moved = np.clip(moved, self._config.lambda_min, self._config.lambda_max)
        np.copyto(self._values, moved, where=usable)

    def _arrays(self) -> dict[str, NDArray[np.generic]]:
        return {**super()._arrays(), "values": self._values}


class Pid(_Measured):
    """PID control of the multipliers (Stooke 2020, algorithm 2), with anti-windup.

    lambda = clip(Kp * v + I + Kd * (v - v_before)+, lambda_min, lambda_max), with the smoothed
    violation v.

    The integral I stays in [lambda_min, lambda_max] and moves by (Ki + growth * I) times the newest
    violation. The part in proportion to I lets it return from any height in about the same number
    of updates; at the budget it does not move.
    """

    def __init__(self, config: ConstraintConfig, n_constraints: int) -> None:
        super().__init__(config, n_constraints)
        self._integral = self._initial.copy()
        self._smooth = np.zeros(n_constraints)
        self._values = self._initial.copy()

    @property
    def values(self) -> Floats:
        """(K,) in [lambda_min, lambda_max], a new array."""
        return np.array(self._values)

    def update(self, mean_cost: ArrayLike) -> None:
        """Update with the (K,) mean costs per step of the task's newest episode."""
        c = self._config
        violation, usable = self._violation(mean_cost)
        relative = c.growth * np.clip(violation, -1.0, 1.0) * self._integral
        moved = self._integral + c.integral * violation + relative
        integral = np.clip(moved, c.lambda_min, c.lambda_max)
        smooth = c.smoothing * self._smooth + (1.0 - c.smoothing) * violation
        # The D term acts on rising costs only, as in the paper.
        rise = np.maximum(smooth - self._smooth, 0.0)
        values = integral + c.proportional * smooth + c.derivative * rise
        np.copyto(self._values, np.clip(values, c.lambda_min, c.lambda_max), where=usable)
        np.copyto(self._integral, integral, where=usable)
        np.copyto(self._smooth, smooth, where=usable)

    def _arrays(self) -> dict[str, NDArray[np.generic]]:
        own = {"integral": self._integral, "smooth": self._smooth, "values": self._values}
        return {**super()._arrays(), **own}


def _vector(name: str, values: Sequence[float], n_constraints: int) -> Floats:
    if len(values) != n_constraints:
        raise ValueError(f"{name} needs {n_constraints} numbers, got {len(values)}: {values}")
    return np.array(values, np.float64)
