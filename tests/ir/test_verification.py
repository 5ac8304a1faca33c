from __future__ import annotations

from pathlib import Path

import numpy as np
import openvino as ov
import pytest
from openvino import opset13 as opset

from nncf_mcq.errors import VerificationError
from nncf_mcq.ir.packing import packed_weight
from nncf_mcq.ir.runtime_graph import runtime_precisions
from nncf_mcq.ir.verification import FloatLayer, verify
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


def test_a_layer_in_float_is_reported_and_passes(tmp_path: Path) -> None:
    # Seven levels are what the plugin has no int8 kernel for.
    network = Network(0, 8)
    node = network.quantize(opset.relu(network.layer(network.quantize(network.parameter), 8)))
    weight = opset.constant(network.random.normal(0, 1, (4, 8, 1, 1)).astype(np.float32))
    quantized = fake_quantize(weight, np.array(-1.0), np.array(1.0), 7)
    layer = opset.convolution(node, quantized, [1, 1], [0, 0], [0, 0], [1, 1])
    layer.set_friendly_name("float")
    xml, outputs = saved(network, network.model(layer), tmp_path)
    result = verify(xml, ["layer0", "float"], [network.data], [outputs], threads=1)
    cause = "a FakeQuantize of 7 levels quantizes its weights, the plugin knows 255 and 256"
    assert result.float_layers == (FloatLayer("float", "f32", cause),)
    assert result.warnings == (f"layer 'float' runs in f32: {cause}",)
    assert result.passed
    assert result.difference == 0


def test_reports_what_differs(tmp_path: Path) -> None:
    network = Network(0, 8)
    xml, outputs = saved(network, residual_chain(network), tmp_path)
    changed = outputs[1].copy()
    changed[0, 0, 0, :2] += 0.5
    missing = outputs[1].copy()
    missing[0, 0, 0, 0] = np.nan
    share = f"{0.5 / np.ptp(changed):.1g}"
    expectations: list[tuple[list[np.ndarray], str]] = [
        (
            [outputs[0], changed],
            f"input 0, output 1: 2 of {changed.size} values differ, by up to 0.5, {share} of the output's range",
        ),
        (
            [outputs[0], missing],
            f"input 0, output 1: 1 of {missing.size} values differ, by up to inf, inf of the output's range",
        ),
        ([outputs[0], changed[:, :3]], "input 0, output 1: found shape (1, 17, 6, 6), expected (1, 3, 6, 6)"),
        (outputs[:1], "input 0: found 2 outputs, expected 1"),
    ]
    for references, problem in expectations:
        result = verify(xml, network.layers, [network.data], [references], threads=1)
        assert result.problems == (problem,)
        assert not result.passed
        with pytest.raises(VerificationError, match="input 0"):
            result.raise_for_problems()


@pytest.mark.parametrize(("share", "passes"), [(5e-6, True), (2e-5, False)])
def test_the_last_digits_may_differ_and_that_is_said(share: float, passes: bool, tmp_path: Path) -> None:
    network = Network(0, 8)
    xml, _ = saved(network, residual_chain(network), tmp_path)
    compiled = compile_model(ov.Core().read_model(xml), 1)
    inputs = [network.data, 3 * network.data]
    references = [[np.array(value, np.float64) for value in compiled(data).values()] for data in inputs]
    # The range of an output is that over all inputs.
    references[0][0][0, 0, 0, 0] += share * np.ptp([reference[0] for reference in references])
    result = verify(xml, network.layers, inputs, references, threads=1)
    assert result.passed == passes
    assert result.difference == pytest.approx(share, rel=1e-3)
    assert bool(result.warnings) == passes


def test_equal_infinities_and_missing_values_are_equal(tmp_path: Path) -> None:
    image = opset.parameter([1, 4], ov.Type.f32)
    model = ov.Model([opset.log(image)], [image], "logarithm")
    data = np.array([[0.0, -1.0, 1.0, 2.0]], np.float32)
    reference = np.array(compile_model(model, 1)(data)[0])
    assert np.isinf(reference).any()
    assert np.isnan(reference).any()
    assert verify(save_atomically(model, tmp_path), [], [data], [[reference]], threads=1).difference == 0


def test_reports_a_missing_layer(tmp_path: Path) -> None:
    network = Network(0, 8)
    xml, _ = saved(network, residual_chain(network), tmp_path)
    result = verify(xml, ["other"], [], [], threads=1)
    assert result.passed
    assert result.warnings == ("layer 'other' not found among those that run: the file has no layer of that name",)


def test_reports_a_file_that_cannot_be_run(tmp_path: Path) -> None:
    network = Network(0, 8)
    xml, _ = saved(network, residual_chain(network), tmp_path)
    xml.write_text("no model")
    result = verify(xml, network.layers, [], [], threads=1)
    assert not result.passed
    assert result.problems[0].startswith("OpenVINO cannot run it: ")


def test_needs_as_many_references_as_inputs(tmp_path: Path) -> None:
    network = Network(0, 8)
    xml, _ = saved(network, residual_chain(network), tmp_path)
    with pytest.raises(ValueError, match="shorter"):
        verify(xml, [], [network.data], [], threads=1)
