# SPDX-License-Identifier: MIT
"""Statistics over a few seeds: pure, seeded functions of arrays.

A variant is described by the interquartile mean over its runs with a percentile bootstrap interval,
as in Agarwal et al. 2021 ("Deep RL at the Edge of the Statistical Precipice"). With five runs such
an interval is too narrow (docs/ablations.md gives its coverage), because a bootstrap only resamples
the values that it has. Claims are therefore based on differences paired by seed with Student's t
intervals, whose error rate is divided by the number of comparisons (Bonferroni).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import stats

from walkhome.robot.evaluation.intervals import CONFIDENCE, percentile_bootstrap

FloatArray = npt.NDArray[np.float64]

RESAMPLES = 2000
BATCH = 500  # bounds the memory of a resampled curve
MIN_PAIRS = 5
"""Fewer seeds than this carry no claim: two of them agree by chance half of the time."""


@dataclass(frozen=True)
class Estimate:
    """A point estimate with its interval.

    Attributes:
        value: the point estimate.
        low: lower end of the interval; NaN if there is none.
        high: upper end of the interval; NaN if there is none.
        n: number of runs.
    """

    value: float
    low: float
    high: float
    n: int

    @property
    def has_interval(self) -> bool:
        """True if there were enough runs for an interval."""
        return math.isfinite(self.low) and math.isfinite(self.high)


@dataclass(frozen=True)
class Difference:
    """Comparison of two variants that were run with the same seeds.

    Attributes:
        mean: mean of the paired differences, first minus second.
        low: lower end of the interval of the mean; NaN for fewer than two pairs.
        high: upper end of the interval.
        confidence: confidence level of the interval, 0 to 1.
        improvement: probability that a run of the first variant has the larger value than one of
            the second, with its own interval.
        n: number of pairs.
    """

    mean: float
    low: float
    high: float
    confidence: float
    improvement: Estimate
    n: int

    @property
    def sign(self) -> int:
        """Returns 1 if the interval lies above zero, -1 if below, else 0.

        With fewer than `MIN_PAIRS` pairs it is 0.
        """
        if self.n < MIN_PAIRS or not (math.isfinite(self.low) and math.isfinite(self.high)):
            return 0
        return int(self.low > 0.0) - int(self.high < 0.0)


def interquartile_mean(values: npt.ArrayLike, axis: int | None = None) -> Any:
    """Interquartile mean: the mean without the lowest and the highest quarter of the values.

    The number left out on each side is rounded down: one of five values, none of three.
    """
    return stats.trim_mean(np.asarray(values, dtype=np.float64), 0.25, axis=axis)


def bootstrap_interval(
    strata: Sequence[npt.ArrayLike],
    statistic: Callable[..., Any] = lambda *samples, axis: interquartile_mean(
        np.concatenate(samples, axis=axis), axis=axis
    ),
    confidence: float = CONFIDENCE,
    seed: int = 0,
) -> tuple[FloatArray, FloatArray]:
    """Percentile bootstrap interval of a statistic, each stratum resampled on its own.

    Args:
        strata: arrays with the samples along axis 0; other axes (e.g. a curve's grid) are kept.
        statistic: called with the strata and `axis`; by default the interquartile mean of all
            samples together.
        confidence: confidence level, 0 to 1.
        seed: random seed of the resampling.

    Returns:
        Lower and upper ends, in the shape of one sample; NaN if a stratum has fewer than two.
    """
    samples = [np.asarray(stratum, dtype=np.float64) for stratum in strata]
    if any(len(sample) < 2 for sample in samples):
        nothing = np.full(samples[0].shape[1:], np.nan)
        return nothing, nothing
    return percentile_bootstrap(
        samples,
        statistic,
        np.random.default_rng(seed),
        resamples=RESAMPLES,
        confidence=confidence,
        batch=BATCH,
    )


def estimate(values: npt.ArrayLike, seed: int = 0) -> Estimate:
    """Estimate the interquartile mean of n runs, with a 95 % percentile bootstrap interval.

    Args:
        values: (n,) values of the runs.
        seed: random seed of the resampling.

    Returns:
        The estimate; its interval is NaN for n < 2, and its value is NaN for n = 0.
    """
    sample = np.asarray(values, dtype=np.float64)
    if not len(sample):
        return Estimate(math.nan, math.nan, math.nan, 0)
    low, high = bootstrap_interval([sample], seed=seed)
    return Estimate(float(interquartile_mean(sample)), float(low), float(high), len(sample))


def probability_of_improvement(x: npt.ArrayLike, y: npt.ArrayLike, axis: int = 0) -> Any:
    """Return P(X > Y) + P(X = Y) / 2 over all pairs of values (Mann and Whitney's U / pairs).

    Args:
        x: values of X along `axis`.
        y: values of Y along `axis`.
        axis: axis of the values; other axes are kept.
    """
    a = np.moveaxis(np.asarray(x, dtype=np.float64), axis, -1)[..., :, None]
    b = np.moveaxis(np.asarray(y, dtype=np.float64), axis, -1)[..., None, :]
    return np.mean((a > b) + 0.5 * (a == b), axis=(-2, -1))


def paired_difference(
    first: npt.ArrayLike, second: npt.ArrayLike, comparisons: int = 1, seed: int = 0
) -> Difference:
    """Compare two variants on the same seeds.

    Args:
        first: (n,) values of the first variant.
        second: (n,) values of the second variant, in the same order of seeds.
        comparisons: number of simultaneous comparisons. The interval has the level
            1 - 0.05 / comparisons, so that all of them hold together with 95 %.
        seed: random seed of the resampling for the probability of improvement.

    Raises:
        ValueError: the arrays differ in shape, or are not one-dimensional.
    """
    x, y = np.asarray(first, dtype=np.float64), np.asarray(second, dtype=np.float64)
    if x.shape != y.shape or x.ndim != 1:
        raise ValueError(f"pairs need the same seeds, got {x.shape} and {y.shape}")
    confidence = 1.0 - (1.0 - CONFIDENCE) / max(1, comparisons)
    n = len(x)
    if n < 2:
        mean = float((x - y).mean()) if n else math.nan
        chance = float(probability_of_improvement(x, y)) if n else math.nan
        none = Estimate(chance, math.nan, math.nan, n)
        return Difference(mean, math.nan, math.nan, confidence, none, n)
    paired = x - y
    error = float(stats.sem(paired))
    half = float(stats.t.ppf(0.5 + confidence / 2.0, n - 1)) * error
    mean = float(paired.mean())
    low, high = bootstrap_interval([x, y], probability_of_improvement, seed=seed)
    better = Estimate(float(probability_of_improvement(x, y)), float(low), float(high), n)
    return Difference(mean, mean - half, mean + half, confidence, better, n)
