from __future__ import annotations

from typing import Literal

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from nncf_mcq.config.schema import WeightsConfig
from nncf_mcq.model.layers import find_layers
from nncf_mcq.weights.level_range import SAFE_BITS, adds_pairs, level_range
from tests.models import convolution_model, matmul_model, small_calibrated_model
from tests.weights.test_weight_table import build, compression

LARGEST_ACTIVATION, LARGEST_SUM = 255, 2**15 - 1

SHAPES: dict[str, tuple[tuple[int, ...], tuple[int, ...], bool]] = {
    "pointwise": ((1, 8, 6, 6), (4, 8, 1, 1), True),
    "one input channel": ((1, 1, 6, 6), (4, 1, 3, 3), True),
    "depthwise": ((1, 8, 6, 6), (8, 1, 1, 3, 3), False),
    "depthwise, two outputs": ((1, 8, 6, 6), (8, 2, 1, 3, 3), True),
    "two inputs a group": ((1, 8, 6, 6), (4, 2, 2, 3, 3), True),
}


@pytest.mark.parametrize("name", SHAPES)
def test_all_kernels_add_pairs_but_those_of_depthwise_convolutions(name: str) -> None:
    shape, weight_shape, expected = SHAPES[name]
    model = convolution_model(shape, weight_shape, grouped=len(weight_shape) == 5)
    (layer,) = find_layers(model, []).layers
    assert adds_pairs(layer) == expected


def test_a_matrix_product_adds_pairs() -> None:
    (layer,) = find_layers(matmul_model((1, 8), (8, 4)), []).layers
    assert adds_pairs(layer)


@given(st.integers(2, 8), st.sampled_from(["symmetric", "asymmetric"]), st.sampled_from(["any", "vnni"]))
def test_no_two_products_of_safe_levels_overflow(
    bits: int, mode: Literal["symmetric", "asymmetric"], isa: Literal["any", "vnni"]
) -> None:
    (layer,) = find_layers(convolution_model((1, 8, 6, 6), (4, 8, 1, 1)), []).layers
    found = level_range(layer, bits, WeightsConfig(mode=mode, isa=isa))
    assert 0 <= found.lowest < found.highest <= 2**bits - 1
    assert found.lowest - found.offset in (0, 1)
    symmetric = mode == "symmetric" or bits == 8 or (isa == "any" and bits == SAFE_BITS)
    middle = 2 ** (bits - 1)
    # Of a grid that is not symmetric any level may be the zero point.
    zero_points = [middle] if symmetric else range(2**bits)
    largest = max(max(found.highest - zero, zero - found.lowest) for zero in zero_points)
    fits = 2 * LARGEST_ACTIVATION * largest <= LARGEST_SUM
    assert fits == (isa == "any" or bits < SAFE_BITS or (bits == SAFE_BITS and mode == "symmetric"))


def worst_pair(levels: NDArray[np.uint8], zero_point: NDArray[np.uint8]) -> int:
    """Largest sum of two products of a row with activations of one sign."""
    weights = levels.astype(int) - zero_point.astype(int)[..., None]
    pairs = [np.sort(np.maximum(sign * weights, 0), axis=2)[..., -2:].sum(axis=2).max() for sign in (1, -1)]
    return LARGEST_ACTIVATION * int(max(pairs))


@pytest.mark.parametrize("mode", ["symmetric", "asymmetric"])
def test_the_worst_case_of_every_layer_of_a_table_fits(mode: str) -> None:
    calibrated, _ = small_calibrated_model()
    tables = {isa: build(compression({"mode": mode, "isa": isa}), (6, 7, 8), "max") for isa in ("any", "vnni")}
    overflows = []
    for layer in calibrated.quantizable.layers:
        for bits in (6, 7, 8):
            safe, free = (tables[isa][layer.name, bits] for isa in ("any", "vnni"))
            if not adds_pairs(layer):
                np.testing.assert_array_equal(safe.levels, free.levels)
                continue
            assert worst_pair(safe.levels, safe.zero_point) <= LARGEST_SUM
            overflows.append(worst_pair(free.levels, free.zero_point) > LARGEST_SUM)
    assert any(overflows)
