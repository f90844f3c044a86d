# SPDX-License-Identifier: MIT
"""Confidence intervals: percentile bootstrap for any statistic, Wilson's interval for proportions.

The bootstrap is the one implementation behind `robot eval` and the ablation statistics.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float64]
Interval = list[float]

CONFIDENCE = 0.95
RESAMPLES = 4000


def percentile_bootstrap(
    samples: Sequence[FloatArray],
    statistic: Callable[..., Any],
    rng: np.random.Generator,
    *,
    resamples: int,
    confidence: float = CONFIDENCE,
    batch: int | None = None,
) -> tuple[FloatArray, FloatArray]:
    """Percentile bootstrap interval of a statistic; each sample is resampled independently.

    Args:
        samples: independent samples, with the values along axis 0; other axes are kept.
        statistic: called with the samples and `axis`.
        rng: draws the resamples.
        resamples: number of resamples.
        confidence: confidence level, 0 to 1.
        batch: resamples that are computed together, to bound the memory; None: all of them.

    Returns:
        Lower and upper ends, in the shape of one value of the samples.
    """
    from scipy.stats import bootstrap  # half a second to import

    ends = bootstrap(
        samples,
        statistic,
        n_resamples=resamples,
        batch=batch,
        vectorized=True,
        paired=False,
        axis=0,
        confidence_level=confidence,
        method="percentile",
        rng=rng,
    ).confidence_interval
    return np.asarray(ends.low, dtype=np.float64), np.asarray(ends.high, dtype=np.float64)


def mean_interval(values: Sequence[float], rng: np.random.Generator) -> Interval | None:
    """Percentile bootstrap interval (95 %) of the mean; None for fewer than two values.

    With few values a percentile bootstrap is too narrow, so report the number of values with it.

    Args:
        values: one value per roll-out.
        rng: draws the resamples.

    Raises:
        ValueError: a value is NaN or infinite.
    """
    sample = np.asarray(values, dtype=np.float64)
    if not np.isfinite(sample).all():
        raise ValueError(f"no interval of values that are not finite: {values}")
    if len(sample) < 2:
        return None
    if np.ptp(sample) == 0.0:
        return [float(sample[0]), float(sample[0])]
    low, high = percentile_bootstrap((sample,), np.mean, rng, resamples=RESAMPLES)
    return [float(low), float(high)]


def proportion_interval(count: int, of: int) -> Interval:
    """Wilson's 95 % interval of a proportion (Wilson 1927).

    Args:
        count: number of occurrences, 0 to `of`.
        of: number of trials, at least 1.
    """
    from scipy.stats import binomtest  # half a second to import

    found = binomtest(count, of).proportion_ci(method="wilson")
    return [float(found.low), float(found.high)]
