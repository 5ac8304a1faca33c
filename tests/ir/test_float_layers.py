from __future__ import annotations

from pathlib import Path

import numpy as np
import openvino as ov

from nncf_mcq.ir.export import export
from nncf_mcq.ir.float_layers import float_weight
from nncf_mcq.model.nodes import operations_by_name, source
from nncf_mcq.policy import FLOAT_CHOICE, Policy
from tests.models import random_images, run, small_calibrated_model


def test_float_layers_read_what_is_not_quantized() -> None:
    """What remains of the error are the quantizers of the residual addition."""
    calibrated, table = small_calibrated_model()
    layers = calibrated.quantizable.layers
    images = random_images(4)
    expected = run(calibrated.quantizable.model, images, threads=1, batch_size=4)
    errors = {}
    for bits in (8, FLOAT_CHOICE):
        model = calibrated.build(Policy({layer.name: bits for layer in layers}, calibrated.activation_bits), table)
        operations = operations_by_name(model)
        sources = {source(operations[layer.name], layer.data_port).get_type_name() for layer in layers}
        assert ("FakeQuantize" in sources) == (bits == 8)
        outputs = run(model, images, threads=1, batch_size=4)
        errors[bits] = np.square(outputs - expected).mean()
    assert errors[FLOAT_CHOICE] < errors[8]


def test_a_float_layer_ships_as_f16_beside_int8_layers(tmp_path: Path) -> None:
    calibrated, table = small_calibrated_model()
    names = [layer.name for layer in calibrated.quantizable.layers]
    kept = names[2]
    sizes = {}
    for bits in (8, FLOAT_CHOICE):
        policy = Policy({name: bits if name == kept else 4 for name in names}, calibrated.activation_bits)
        integer = [name for name in names if policy.weight_bits[name] != FLOAT_CHOICE]
        # The outputs of the file must be those of the model that was scored, bit for bit.
        scored = calibrated.build(policy, table, packed=False)
        found = export(scored, tmp_path / "scored", "model", integer, random_images(3), information={}, threads=1)
        shipped = export(
            calibrated.build(policy, table), tmp_path, "model", integer, random_images(3), information={}, threads=1
        )
        assert shipped.runtime_precisions == found.runtime_precisions
        assert shipped.runtime_precisions[kept] == (
            "f32" if bits == FLOAT_CHOICE else shipped.runtime_precisions[names[1]]
        )
        sizes[bits] = shipped.xml.with_suffix(".bin").stat().st_size
    layer = calibrated.quantizable.layer(kept)
    # Scales, one a channel, and the range of the quantizer are saved.
    assert 0 < sizes[FLOAT_CHOICE] - sizes[8] <= layer.weights
    constants = [node for node in ov.Core().read_model(shipped.xml).get_ops() if node.get_type_name() == "Constant"]
    halves = [tuple(node.get_output_shape(0)) for node in constants if node.get_element_type() == ov.Type.f16]
    assert halves == [layer.weight_shape]


def test_weights_beyond_f16_stay_finite() -> None:
    weight = float_weight(np.array([1e6, -1e6, 0.5], dtype=np.float32)).input_value(0).get_node().get_data()
    assert weight.dtype == np.float16
    np.testing.assert_array_equal(weight, np.array([65504, -65504, 0.5], dtype=np.float16))
