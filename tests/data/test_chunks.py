from __future__ import annotations

import numpy as np
import pytest

from nncf_mcq.data.chunks import chunks, iterate_samples
from nncf_mcq.errors import QuantizationError


class Endless:
    """Images that know their number, and do not raise past the end."""

    def __len__(self) -> int:
        return 5

    def __getitem__(self, index: int, /) -> tuple[np.ndarray, int]:
        return np.full((1, 2), index, dtype=np.float64), index


def test_samples_come_in_order_and_the_last_chunk_is_smaller() -> None:
    found = list(chunks(iterate_samples(Endless()), 2))
    assert [targets for _, targets in found] == [[0, 1], [2, 3], [4]]
    for inputs, targets in found:
        (images,) = inputs
        assert images.dtype == np.float32
        np.testing.assert_array_equal(images[:, 0, 0], targets)


def test_a_sample_may_have_several_inputs() -> None:
    samples = [((np.full(3, index), np.full((2, 2), -index, np.float32)), index) for index in range(3)]
    ((inputs, targets),) = chunks(samples, 4)
    assert [(item.shape, item.dtype) for item in inputs] == [((3, 3), np.int64), ((3, 2, 2), np.float32)]
    np.testing.assert_array_equal(inputs[1][:, 0, 0], [0, -1, -2])
    assert targets == [0, 1, 2]


@pytest.mark.parametrize(
    ("odd", "message"),
    [
        (np.zeros((1, 3)), r"samples 2 to 3: found shapes \(1, 2\), \(1, 3\), allowed: the same for all"),
        ((np.zeros((1, 2)), np.zeros(1)), r"samples 2 to 3: found \[1, 2\] inputs, allowed: the same for all"),
    ],
)
def test_samples_that_differ_are_named(odd: object, message: str) -> None:
    samples = [(np.zeros((1, 2)), 0)] * 3
    with pytest.raises(QuantizationError, match=message):
        list(chunks([*samples, (odd, 0)], 2))
