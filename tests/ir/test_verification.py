from __future__ import annotations

from pathlib import Path

import numpy as np
import openvino as ov
import pytest
from openvino import opset13 as opset

from nncf_mcq.errors import VerificationError
from nncf_mcq.ir.packing import packed_weight
from nncf_mcq.ir.verification import runtime_precisions, verify
from nncf_mcq.ir.writer import save_atomically
from nncf_mcq.model.inference import compile_model
from nncf_mcq.policy import INT8_PRECISIONS
from tests.ir.networks import Network, fake_quantize, residual_chain


def saved(network: Network, model: ov.Model, directory: Path) -> tuple[Path, list[np.ndarray]]:
    compiled = compile_model(model, 1)
    results = compiled(network.data)
    return save_atomically(model, directory), [np.array(results[port]) for port in compiled.outputs]


def test_finds_every_layer(tmp_path: Path) -> None:
    network = Network(0, 8)
    xml, outputs = saved(network, residual_chain(network), tmp_path)
    result = verify(xml, network.layers, [network.data, network.data], [outputs, outputs], threads=1)
    assert result.passed
    result.raise_for_problems()
    assert set(result.precisions) == set(network.layers)
    assert (result.xml_bytes, result.bin_bytes) == (xml.stat().st_size, xml.with_suffix(".bin").stat().st_size)


def test_finds_a_layer_that_was_renamed() -> None:
    network = Network(0, 8)
    node = network.quantize(network.parameter)
    node = opset.relu(opset.add(network.layer(node, 8, bias=False), opset.constant(np.zeros((1, 8, 1, 1), np.float32))))
    model = network.model(node)
    precisions = runtime_precisions(compile_model(model, 1), model)
    assert set(precisions) == {"layer0"}
    assert precisions["layer0"] in INT8_PRECISIONS


def test_finds_a_matmul_whose_dequantization_was_moved_behind_it() -> None:
    network = Network(0, 8, (2, 5))
    weight = packed_weight(np.arange(15).reshape(5, 3), 4, 0.5, 8)
    layer = opset.matmul(network.quantize(network.parameter), weight, False, False)
    layer.set_friendly_name("layer")
    model = ov.Model([opset.softmax(layer, 1)], [network.parameter], "model")
    assert set(runtime_precisions(compile_model(model, 1), model)) == {"layer"}


def test_reports_a_layer_in_float(tmp_path: Path) -> None:
    # Seven levels are what the plugin has no int8 kernel for.
    network = Network(0, 8)
    node = network.quantize(opset.relu(network.layer(network.quantize(network.parameter), 8)))
    weight = opset.constant(network.random.normal(0, 1, (4, 8, 1, 1)).astype(np.float32))
    quantized = fake_quantize(weight, np.array(-1.0), np.array(1.0), 7)
    layer = opset.convolution(node, quantized, [1, 1], [0, 0], [0, 0], [1, 1])
    layer.set_friendly_name("float")
    xml, outputs = saved(network, network.model(layer), tmp_path)
    result = verify(xml, ["layer0", "float"], [network.data], [outputs], threads=1)
    assert result.problems == (f"{xml}: layer 'float' runs in f32, not in int8",)
    with pytest.raises(VerificationError, match="runs in f32"):
        result.raise_for_problems()


def test_reports_what_differs(tmp_path: Path) -> None:
    network = Network(0, 8)
    xml, outputs = saved(network, residual_chain(network), tmp_path)
    changed = outputs[1].copy()
    changed[0, 0, 0, :2] += 0.5
    expectations: list[tuple[list[np.ndarray], str]] = [
        ([outputs[0], changed], f"input 0, output 1: 2 of {changed.size} values differ, by up to 0.5"),
        ([outputs[0], changed[:, :3]], "input 0, output 1: found shape (1, 17, 6, 6), expected (1, 3, 6, 6)"),
        (outputs[:1], "input 0: found 2 outputs, expected 1"),
    ]
    for references, problem in expectations:
        result = verify(xml, network.layers, [network.data], [references], threads=1)
        assert result.problems == (f"{xml}: {problem}",)
        assert not result.passed


def test_reports_a_missing_layer(tmp_path: Path) -> None:
    network = Network(0, 8)
    xml, _ = saved(network, residual_chain(network), tmp_path)
    assert verify(xml, ["other"], [], [], threads=1).problems == (f"{xml}: layer 'other' is not in the file",)


def test_needs_as_many_references_as_inputs(tmp_path: Path) -> None:
    network = Network(0, 8)
    xml, _ = saved(network, residual_chain(network), tmp_path)
    with pytest.raises(ValueError, match="shorter"):
        verify(xml, [], [network.data], [], threads=1)
