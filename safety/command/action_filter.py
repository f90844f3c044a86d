# SPDX-License-Identifier: MIT
"""Butterworth low-pass filter for actions, on `scipy.signal.lfilter`.

Ha et al. 2020 (arXiv 2002.08550) filter the actions so that untrained, noisy policies do not shake
the gearboxes. The filter has memory: call `reset` at every start with the measured posture, or the
first commands pull the legs toward where the last episode ended.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float64]

LARGEST_INPUT = 1e6
"""Larger inputs are refused: no action is this large, and no sum in the filter can overflow."""


class ActionFilter:
    """Low-pass filter of order 1 or 2 over a vector.

    Args:
        size: length of the vectors.
        order: order of the Butterworth design.
        cutoff_hz: -3 dB frequency; None passes everything through unchanged.
        rate_hz: how often the filter is called.

    Raises:
        ValueError: an order other than 1 or 2, or a cut-off outside (0, rate_hz / 2).
    """

    def __init__(self, size: int, order: int, cutoff_hz: float | None, rate_hz: float) -> None:
        if size < 1:
            raise ValueError(f"size is {size}; a filter needs at least one channel")
        if order not in (1, 2):
            raise ValueError(f"order is {order}; choose 1 or 2")
        # Imported here because scipy.signal takes more than half a second, and most commands of the
        # host never filter anything.
        from scipy.signal import lfilter, lfilter_zi

        self.size = size
        self._lfilter = lfilter
        self._b, self._a = _design(order, cutoff_hz, rate_hz)
        self._steady: FloatArray = lfilter_zi(self._b, self._a)
        self._delay: FloatArray = np.zeros((order, size))

    def reset(self, value: FloatArray) -> None:
        """Set the state to what it would be if `value` (size,) had been the input forever.

        Raises:
            ValueError: wrong shape, or not finite.
        """
        self._delay = np.outer(self._steady, self._checked(value))

    def __call__(self, x: FloatArray) -> FloatArray:
        """Filter one sample.

        Args:
            x: (size,) the newest input; any unit, the output has the same.

        Returns:
            (size,) float64, a new array.

        Raises:
            ValueError: wrong shape, or not finite; the state is then unchanged.
        """
        y, self._delay = self._lfilter(
            self._b, self._a, self._checked(x)[np.newaxis], axis=0, zi=self._delay
        )
        return np.asarray(y[0], dtype=np.float64)

    def state_dict(self) -> dict[str, FloatArray]:
        """A copy of the filter's memory: `delay` (order, size)."""
        return {"delay": self._delay.copy()}

    def load_state_dict(self, state: Mapping[str, npt.ArrayLike]) -> None:
        """Restore what `state_dict` returned.

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
            raise ValueError(f"action is not finite or too large: {array}")
        return array


def _design(order: int, cutoff_hz: float | None, rate_hz: float) -> tuple[FloatArray, FloatArray]:
    """Numerator and denominator, (order + 1,) each, with a[0] = 1."""
    if cutoff_hz is None:
        unit = np.eye(1, order + 1)[0]
        return unit, unit
    if not 0.0 < cutoff_hz < rate_hz / 2.0:
        raise ValueError(
            f"cutoff_hz is {cutoff_hz}; it must lie between 0 and half the rate, {rate_hz / 2.0}"
        )
    from scipy.signal import butter

    b, a = butter(order, cutoff_hz, fs=rate_hz)
    return b, a
