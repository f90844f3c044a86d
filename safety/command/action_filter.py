# SPDX-License-Identifier: MIT
"""Butterworth low-pass on the actions: what the policy asks for becomes what the legs can follow.

Ha et al. 2020 (arXiv 2002.08550) filter the actions so that untrained, noisy policies do not shake
the gearboxes. The filter has memory: `reset` must be called at every start with the measured
posture, or the first commands pull the legs toward wherever the last episode ended.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float64]

# Nothing a robot is asked to do is this large; below it no sum in the filter can overflow.
LARGEST_INPUT = 1e6


class ActionFilter:
    """Low-pass of order 1 or 2 over a vector, in transposed direct form II.

    Attributes:
        size: length of the vectors.
        order: order of the Butterworth design.
        cutoff_hz: -3 dB frequency; None passes everything through unchanged.
        rate_hz: how often the filter is called.
    """

    def __init__(
        self,
        size: int = 8,
        order: int = 1,
        cutoff_hz: float | None = 5.0,
        rate_hz: float = 50.0,
    ) -> None:
        """Designs the filter; its state starts at zero.

        Raises:
            ValueError: an order other than 1 or 2, or a cut-off outside (0, rate_hz / 2).
        """
        if size < 1:
            raise ValueError(f"size is {size}; a filter needs at least one channel")
        if order not in (1, 2):
            raise ValueError(f"order is {order}; choose 1 or 2")
        self.size = size
        self.order = order
        self.cutoff_hz = cutoff_hz
        self.rate_hz = rate_hz
        self._b, self._a = _design(order, cutoff_hz, rate_hz)
        self._delay: FloatArray = np.zeros((order, size))

    def reset(self, value: FloatArray) -> None:
        """Makes the state what it would be if `value` (size,) had been the input forever.

        Raises:
            ValueError: wrong shape, or not finite.
        """
        steady = self._checked(value)
        # In steady state y = x: walk the delay line from its end (scipy.signal.lfilter_zi).
        below = np.zeros(self.size)
        for i in reversed(range(self.order)):
            below = (self._b[i + 1] - self._a[i + 1]) * steady + below
            self._delay[i] = below

    def __call__(self, x: FloatArray) -> FloatArray:
        """Filters one sample.

        Args:
            x: (size,) the newest input; any unit, the output has the same.

        Returns:
            (size,) float64, a new array.

        Raises:
            ValueError: wrong shape, or not finite; the state is then unchanged.
        """
        sample = self._checked(x)
        y: FloatArray = self._b[0] * sample + self._delay[0]
        for i in range(self.order):
            above = self._delay[i + 1] if i + 1 < self.order else 0.0
            self._delay[i] = self._b[i + 1] * sample - self._a[i + 1] * y + above
        return y

    def state_dict(self) -> dict[str, FloatArray]:
        """The filter's memory, copied: `delay` (order, size)."""
        return {"delay": self._delay.copy()}

    def load_state_dict(self, state: Mapping[str, npt.ArrayLike]) -> None:
        """Restores what `state_dict` gave.

        Raises:
            ValueError: the memory belongs to another size or order, or is not finite.
        """
        delay = np.asarray(state["delay"], dtype=np.float64)
        if delay.shape != self._delay.shape or not np.isfinite(delay).all():
            raise ValueError(
                f"filter memory of shape {delay.shape} does not fit {self._delay.shape}, or is not "
                "finite; reset the filter at the measured posture instead"
            )
        self._delay = delay.copy()

    def _checked(self, value: FloatArray) -> FloatArray:
        array = np.asarray(value, dtype=np.float64)
        if array.shape != (self.size,):
            raise ValueError(f"expected shape ({self.size},), got {array.shape}")
        # Written so that NaN fails it too.
        if not (np.abs(array) <= LARGEST_INPUT).all():
            raise ValueError(f"action is not finite or absurdly large: {array}")
        return array


def _design(
    order: int, cutoff_hz: float | None, rate_hz: float
) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Numerator and denominator (order + 1,) each, normalised to a[0] = 1."""
    if cutoff_hz is None:
        zeros = (0.0,) * order
        return (1.0, *zeros), (1.0, *zeros)
    if not 0.0 < cutoff_hz < rate_hz / 2.0:
        raise ValueError(
            f"cutoff_hz is {cutoff_hz}; it must lie between 0 and half the rate, {rate_hz / 2.0}"
        )
    # Imported here because scipy.signal takes more than half a second, and most commands of the
    # host never filter anything.
    from scipy.signal import butter

    b, a = butter(order, cutoff_hz, fs=rate_hz)
    return tuple(float(v) for v in b), tuple(float(v) for v in a)
