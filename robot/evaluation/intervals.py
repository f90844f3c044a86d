# SPDX-License-Identifier: MIT
"""95 % intervals of what was measured: bootstrap for means, Wilson for proportions."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

Interval = list[float]

RESAMPLES = 4000


def mean_interval(values: Sequence[float], rng: np.random.Generator) -> Interval | None:
    """Percentile bootstrap of the mean; None for fewer than two values.

    With few values a percentile bootstrap is too narrow, so tell the number of values with it.

    Args:
        values: one per roll-out.
        rng: of the resampling.

    Raises:
        ValueError: a value is not finite.
    """
    sample = np.asarray(values, dtype=np.float64)
    if not np.isfinite(sample).all():
        raise ValueError(f"no interval of values that are not finite: {values}")
    if len(sample) < 2:
        return None
    if np.ptp(sample) == 0.0:
        return [float(sample[0]), float(sample[0])]
    from scipy.stats import bootstrap  # half a second to import

    found = bootstrap(
        (sample,), np.mean, method="percentile", n_resamples=RESAMPLES, rng=rng
    ).confidence_interval
    return [float(found.low), float(found.high)]


def proportion_interval(count: int, of: int) -> Interval:
    """Wilson's interval of a proportion (Wilson 1927).

    Args:
        count: how often it happened, 0 to `of`.
        of: out of how many, at least 1.
    """
    from scipy.stats import binomtest  # half a second to import

    found = binomtest(count, of).proportion_ci(method="wilson")
    return [float(found.low), float(found.high)]
