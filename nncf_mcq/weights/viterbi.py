"""The sequences of trellis-coded values that come closest to what is wanted."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from nncf_mcq.weights.trellis import MEMORY, SUBSETS, alphabet, subset_of_window

FloatArray = npt.NDArray[np.float32]
IntegerArray = npt.NDArray[np.integer]

_STATES = 2**MEMORY
_NEVER = np.float32(1e30)

_HALVES = 256
"""Of the whole halves of -64 to 63.5: all that the value next to a number depends on, as values are whole numbers."""


class TrellisDecoder:
    """Finds the sequences of values that come closest to what is wanted, for some bit-widths side by side.

    Args:
        bits: The widths.

    Source: Viterbi, "Error bounds for convolutional codes and an asymptotically optimum decoding algorithm", IEEE
    Transactions on Information Theory 13(2), 1967.
    """

    def __init__(self, bits: Sequence[int]) -> None:
        nearest = np.stack([_nearest_of_subsets(width) for width in bits])
        # (SUBSETS, widths * whole halves): of each subset the nearest value's index and the value.
        self._nearest = np.ascontiguousarray(nearest.transpose(1, 0, 2).reshape(SUBSETS, -1))
        values = [
            alphabet(width)[SUBSETS * found.astype(np.int64) + np.arange(SUBSETS)[:, None]]
            for width, found in zip(bits, nearest, strict=True)
        ]
        self._values = np.ascontiguousarray(np.stack(values, axis=1).reshape(SUBSETS, -1).astype(np.float32))
        self._starts = (_HALVES * np.arange(len(bits)) + _HALVES // 2)[:, None]
        # A state is entered from two: `windows[n]` and that plus 2^MEMORY, the oldest branch being its highest bit.
        self._subset = subset_of_window()

    def find(
        self, wanted: FloatArray, weight: FloatArray, start: IntegerArray, end: IntegerArray
    ) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.int8], IntegerArray, IntegerArray]:
        """The sequences of least weighted squared error.

        Args:
            wanted: (length, widths, sequences).
            weight: Of the same shape, or one that broadcasts to it.
            start: (widths, sequences) states before the first value; -1 where any will do.
            end: (widths, sequences) states after the last value; -1 where any will do.

        Returns:
            The levels and the values, (length, widths, sequences); the states of start and end, (widths, sequences).
        """
        length, shape = len(wanted), wanted.shape
        # Whole halves are all that the nearest value depends on: the values are whole numbers.
        halves = np.floor(2 * wanted).clip(-(_HALVES // 2), _HALVES // 2 - 1).astype(np.int64)
        places = (halves + self._starts).reshape(length, -1)
        values = self._values.take(places, axis=1)
        distance = np.square(wanted.reshape(1, length, -1) - values)
        distance *= np.broadcast_to(weight, shape).reshape(length, -1)
        states, windows = _survivors(distance, self._subset, start.reshape(-1), end.reshape(-1))
        subset = self._subset[windows]
        chosen = subset * self._values.shape[1] + places
        levels = (self._nearest.reshape(-1).take(chosen) << 1) | (windows & 1).astype(np.uint8)
        found = self._values.reshape(-1).take(chosen).astype(np.int8)
        return (
            levels.reshape(shape),
            found.reshape(shape),
            (windows[0] >> 1).reshape(shape[1:]),
            states.reshape(shape[1:]),
        )


def _nearest_of_subsets(bits: int) -> npt.NDArray[np.uint8]:
    """(SUBSETS, _HALVES) the index of the nearest value of each subset, for all whole halves that matter."""
    values = alphabet(bits).astype(np.int64)
    middles = [values[j::SUBSETS][1:] + values[j::SUBSETS][:-1] for j in range(SUBSETS)]
    halves = np.arange(-(_HALVES // 2), _HALVES // 2)
    # Twice a middle is a whole half: what is at least that is nearer to the upper value.
    return np.stack([np.searchsorted(middle, halves, side="right") for middle in middles]).astype(np.uint8)


def _survivors(
    distance: FloatArray, subset: IntegerArray, start: IntegerArray, end: IntegerArray
) -> tuple[IntegerArray, IntegerArray]:
    """The cheapest paths.

    Args:
        distance: (SUBSETS, length, sequences) what a value costs.
        subset: Of each window.
        start: (sequences,) states, or -1.
        end: (sequences,) states, or -1.

    Returns:
        The last states, (sequences,), and the windows, (length, sequences).
    """
    _, length, count = distance.shape
    cost = np.full((_STATES, count), _NEVER, dtype=np.float32)
    cost[:, start < 0] = 0
    known = np.flatnonzero(start >= 0)
    cost[start[known], known] = 0
    # Sequences last: that is what an operation of NumPy runs along.
    low, high = (
        distance.take(subset[first : first + _STATES], axis=0).reshape(_STATES // 2, 2, length, count)
        for first in (0, _STATES)
    )
    from_low, from_high = np.empty((2, _STATES // 2, 2, count), dtype=np.float32)
    is_high = np.empty((length, _STATES // 2, 2, count), dtype=np.bool_)
    lower, upper = cost[: _STATES // 2, None], cost[_STATES // 2 :, None]
    entered = cost.reshape(_STATES // 2, 2, count)
    for step in range(length):
        np.add(lower, low[:, :, step], out=from_low)
        np.add(upper, high[:, :, step], out=from_high)
        np.less(from_high, from_low, out=is_high[step])
        np.minimum(from_low, from_high, out=entered)
    last = state = np.where(end >= 0, end, cost.argmin(axis=0))
    sequences = np.arange(count)
    windows = np.empty((length, count), dtype=np.int64)
    branches = is_high.reshape(length, -1)
    for step in range(length - 1, -1, -1):
        oldest = branches[step].take(state * count + sequences)
        window = np.add(state, oldest * _STATES, out=windows[step])
        state = window >> 1
    return last, windows
