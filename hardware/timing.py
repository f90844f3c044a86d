# SPDX-License-Identifier: MIT
"""Statistics of delays (a histogram of fixed size) and a detector of high error rates.

Both are cheap enough for every control period and never grow.
"""

from __future__ import annotations

import math

import numpy as np

BINS_PER_DECADE = 20
LOWEST_S = 1e-6
DECADES = 7  # to 10 s


class Lateness:
    """Histogram of delays with logarithmic bins from 1 us to 10 s.

    Args:
        limit_s: a longer delay counts as a miss.

    Attributes:
        count: number of delays.
        worst_s: longest delay.
        misses: number of delays above the limit.
        run: consecutive misses up to now.
        longest_run: largest number of consecutive misses.
    """

    def __init__(self, limit_s: float = math.inf) -> None:
        self._limit_s = limit_s
        self.count = self.misses = self.run = self.longest_run = 0
        self.worst_s = 0.0
        self._bins = np.zeros(BINS_PER_DECADE * DECADES + 2, dtype=np.int64)

    def add(self, seconds: float) -> None:
        """Count one delay; a negative one (early) counts as on time."""
        self.count += 1
        self.worst_s = max(self.worst_s, seconds)
        place = math.log10(max(seconds, LOWEST_S) / LOWEST_S) * BINS_PER_DECADE
        self._bins[min(int(place), len(self._bins) - 1)] += 1
        if seconds > self._limit_s:
            self.misses += 1
            self.run += 1
            self.longest_run = max(self.longest_run, self.run)
        else:
            self.run = 0

    def quantile(self, share: float) -> float:
        """Quantile of the delays, s: the upper edge of its bin; 0 without any.

        Args:
            share: in [0, 1], e.g. 0.99.
        """
        if not self.count:
            return 0.0
        index = int(np.searchsorted(np.cumsum(self._bins), share * self.count))
        edge = LOWEST_S * 10.0 ** ((index + 1) / BINS_PER_DECADE)
        return float(min(edge, max(self.worst_s, LOWEST_S)))

    def summary(self) -> dict[str, float]:
        """Count, quantiles and maximum in ms, as JSON values; misses only if there is a limit."""
        missed = {"misses": self.misses, "longest_run": self.longest_run}
        return {
            "count": self.count,
            "p50_ms": 1e3 * self.quantile(0.5),
            "p99_ms": 1e3 * self.quantile(0.99),
            "p99_9_ms": 1e3 * self.quantile(0.999),
            "max_ms": 1e3 * self.worst_s,
            **(missed if math.isfinite(self._limit_s) else {}),
        }

    def rows(self) -> list[tuple[float, float, int]]:
        """Coarse histogram: (from_s, to_s, count), about 3 rows a decade, empty ends left out."""
        width = BINS_PER_DECADE // 3
        out = []
        for start in range(0, len(self._bins), width):
            low = 0.0 if start == 0 else LOWEST_S * 10.0 ** (start / BINS_PER_DECADE)
            high = LOWEST_S * 10.0 ** ((start + width) / BINS_PER_DECADE)
            out.append((low, high, int(self._bins[start : start + width].sum())))
        while out and out[-1][2] == 0:
            out.pop()
        while out and out[0][2] == 0:
            out.pop(0)
        return out


class LeakyBucket:
    """Leaky-bucket detector of a high error rate.

    Each bad event raises the level by 1, each good event lowers it by `leak`. A steady share of
    bad events up to leak / (1 + leak) never reaches the limit.

    Args:
        limit: level at which the rate counts as too high.
        leak: amount by which a good event lowers the level.
    """

    def __init__(self, *, limit: float, leak: float) -> None:
        self._limit, self._leak = limit, leak
        self._level = 0.0

    def add(self, *, bad: float, good: float) -> None:
        """Record `bad` and `good` events since the last call."""
        self._level = max(0.0, self._level + bad - self._leak * good)

    @property
    def reached(self) -> bool:
        """Whether the level is at the limit now."""
        return self._level >= self._limit

    def reset(self) -> None:
        """Set the level to 0."""
        self._level = 0.0
