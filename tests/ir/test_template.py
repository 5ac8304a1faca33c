"""The model of a policy before its weights are in place."""

from __future__ import annotations

import numpy as np
import openvino as ov
import pytest

from nncf_mcq.errors import QuantizationError
from nncf_mcq.ir.template import build_template, place_activation_quantizers
from nncf_mcq.model.algorithm import MixedClippingQuantization, ValueRange, quiet_nncf, run_pipeline
from nncf_mcq.model.layers import QuantizableModel, find_layers
from nncf_mcq.model.loading import to_openvino
from nncf_mcq.policy import Policy
from tests.models import SAMPLE_SIZE, small_network


@pytest.fixture(scope="module")
def quantizable() -> QuantizableModel:
    return find_layers(to_openvino(small_network(), SAMPLE_SIZE))


def value_range(low: float, high: float) -> ValueRange:
    return ValueRange(np.array(low, dtype=np.float32), np.array(high, dtype=np.float32))


def ranges_of(quantizable: QuantizableModel) -> dict[str, ValueRange]:
    """A signed range for the first point, ranges from zero for the others, all of another size."""
    return {
        point.name: value_range(-1.5 if index == 0 else 0.0, 1.5 + index)
        for index, point in enumerate(quantizable.activation_points)
    }


def activation_bounds(model: ov.Model) -> dict[str, list[float]]:
    """Name of each FakeQuantize of an activation to its lower and upper bound."""
    return {
        node.get_friendly_name(): [float(node.input_value(port).get_node().get_data()) for port in (1, 2)]
        for node in model.get_ops()
        if node.get_type_name() == "FakeQuantize"
        and "/fq_" in node.get_friendly_name()
        and "weights" not in node.get_friendly_name()
    }


def test_at_eight_bits_the_grids_are_what_nncf_would_write(quantizable: QuantizableModel) -> None:
    ranges = ranges_of(quantizable)
    algorithm = MixedClippingQuantization(
        Policy({}),
        weight_ranges={layer.name: value_range(-1.0, 1.0) for layer in quantizable.layers},
        activation_ranges=ranges,
    )
    with quiet_nncf():
        expected = activation_bounds(run_pipeline(algorithm, quantizable.model.clone()))
    fake_quantized = place_activation_quantizers(quantizable)
    template = build_template(fake_quantized, quantizable.activation_points, ranges, dict.fromkeys(ranges, 8))
    found = activation_bounds(template)
    assert len(expected) == len(ranges)
    for name, bounds in expected.items():
        np.testing.assert_allclose(found[name], bounds, rtol=1e-6)


def test_every_point_needs_a_range(quantizable: QuantizableModel) -> None:
    fake_quantized = place_activation_quantizers(quantizable)
    ranges = ranges_of(quantizable)
    ranges.pop(quantizable.activation_points[-1].name)
    with pytest.raises(QuantizationError, match="activation quantizers: found "):
        build_template(fake_quantized, quantizable.activation_points, ranges, dict.fromkeys(ranges, 8))
