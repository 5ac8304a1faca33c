"""What the files of float models and of NNCF INT8 hold, counted in the files."""

from __future__ import annotations

from pathlib import Path

import openvino as ov
import pytest
import torch
from openvino import opset13 as opset

from nncf_mcq.ir.model_file import describe_file, stored_weight_bits
from nncf_mcq.model import int8
from nncf_mcq.model.layers import find_layers
from nncf_mcq.model.loading import to_openvino
from tests.models import SAMPLE_SIZE, random_constant, random_images, small_network


def names_of(model: ov.Model) -> list[str]:
    return [layer.name for layer in find_layers(model).layers]


@pytest.mark.parametrize(("halves", "bits"), [(False, 32), (True, 16)])
def test_a_float_model(halves: bool, bits: int, tmp_path: Path) -> None:
    model = to_openvino(small_network(), list(SAMPLE_SIZE))
    ov.save_model(model, tmp_path / "model.xml", compress_to_fp16=halves)
    found = describe_file(tmp_path / "model.xml", names_of(model), 1)
    assert (found.average_weight_bits, found.integer_layers, found.layers) == (bits, 0, 4)
    # On another device the kernels are not known.
    assert describe_file(tmp_path / "model.xml", names_of(model), None).layers is None


@pytest.mark.parametrize("ignored", [False, True])
def test_nncf_int8(ignored: bool, tmp_path: Path) -> None:
    model = to_openvino(small_network(), list(SAMPLE_SIZE))
    layers = find_layers(model).layers
    scopes = [layers[0].name] if ignored else []
    ov.save_model(int8.nncf_int8(model, random_images(8), scopes), tmp_path / "model.xml", compress_to_fp16=False)
    found = describe_file(tmp_path / "model.xml", names_of(model), 1)
    total, first = sum(layer.weights for layer in layers), layers[0].weights
    assert found.average_weight_bits == (pytest.approx((8 * total + 24 * first) / total) if ignored else 8)
    assert (found.integer_layers, found.layers) == (3 if ignored else 4, 4)


def test_weights_are_counted_once_and_indices_are_none() -> None:
    data = opset.parameter([1, 2, 4], ov.Type.f32)
    shared = random_constant(4, 4)
    halves = opset.convert(opset.constant(torch.ones(4, 8).numpy(), ov.Type.f16), ov.Type.f32)
    once = opset.matmul(opset.matmul(data, shared, False, False), shared, False, False)
    places = opset.gather(
        opset.constant([[0, 1], [1, 0]], ov.Type.i64), opset.constant([0], ov.Type.i64), opset.constant(0)
    )
    model = ov.Model([opset.matmul(once, halves, False, False), places], [data], "model")
    assert stored_weight_bits(model, []) == pytest.approx((16 * 32 + 32 * 16) / 48)
    empty = opset.parameter([1, 2], ov.Type.f32)
    assert stored_weight_bits(ov.Model([opset.relu(empty)], [empty], "model"), []) is None
