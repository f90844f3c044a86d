# SPDX-License-Identifier: MIT
"""How late things are, and how often: of fixed size, cheap to add to."""

from __future__ import annotations

import math

import numpy as np

BINS_PER_DECADE = 20
LOWEST_S = 1e-6
DECADES = 7  # to 10 s


class Lateness:
    """Counts seconds; never grows.

    Args:
        limit_s: more than that is a miss.

    Attributes:
        count: how many there were.
        worst_s: the largest.
        misses: how many were over the limit.
        run: misses in a row, now.
        longest_run: misses in a row, at most.
    """

    def __init__(self, limit_s: float = math.inf) -> None:
        self._limit_s = limit_s
        self.count = self.misses = self.run = self.longest_run = 0
        self.worst_s = 0.0
        self._bins = np.zeros(BINS_PER_DECADE * DECADES + 2, dtype=np.int64)

    def add(self, seconds: float) -> None:
        """One more; early counts as on time."""
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
        """Upper edge of the bin in which this share is reached, s; 0 without any."""
        if not self.count:
            return 0.0
        index = int(np.searchsorted(np.cumsum(self._bins), share * self.count))
        edge = LOWEST_S * 10.0 ** ((index + 1) / BINS_PER_DECADE)
        return float(min(edge, max(self.worst_s, LOWEST_S)))

    def summary(self) -> dict[str, float]:
        """In milliseconds, for people and JSON; misses only where there is a limit."""
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
        """(from, to, count) per third of a decade, in seconds; empty ones at both ends left out."""
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


class TooOften:
    """Tells what happens too often from what happens now and then: a bucket that leaks.

    Args:
        limit: so many at once are too many.
        leak: what a good one takes out; the share that is borne for ever is leak / (1 + leak).
    """

    def __init__(self, limit: float, leak: float) -> None:
        self._limit, self._leak = limit, leak
        self._level = 0.0

    def add(self, bad: float, good: float) -> None:
        """So many of each, since the last time."""
        self._level = max(0.0, self._level + bad - self._leak * good)

    @property
    def reached(self) -> bool:
        """Whether it is too often, now."""
        return self._level >= self._limit

    def reset(self) -> None:
        """Begin anew."""
        self._level = 0.0
