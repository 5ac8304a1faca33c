from __future__ import annotations

from collections.abc import Iterator
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


@pytest.mark.parametrize("values", [[0.0, 1.0, 2.0, 4.0, 3.0], [np.nan, 1.0, 0.0, np.inf, 4.0]])
def test_a_difference_is_told_relative_to_how_far_values_lie_apart(values: list[float], tmp_path: Path) -> None:
    image = opset.parameter([1, 5], ov.Type.f32)
    model = ov.Model([opset.add(image, np.float32(100))], [image], "offset")
    xml, data = save_atomically(model, tmp_path), np.array([values], np.float32)
    reference = np.array(compile_model(model, 1)(data)[0])
    assert verify(xml, [], [data], [[reference]], threads=1).difference == 0
    reference[0, 1] += 0.25
    assert verify(xml, [], [data], [[reference]], threads=1).difference == pytest.approx(0.25 / 4)
    # Where they are all equal, to how large they are.
    equal = np.full((1, 5), -100.0)
    result = verify(xml, [], [data - 200], [[equal]], threads=1)
    assert result.difference == pytest.approx(4 / 100 if np.isfinite(values).all() else np.inf)


def test_equal_zeros_are_equal(tmp_path: Path) -> None:
    image = opset.parameter([1, 4], ov.Type.f32)
    model = ov.Model([opset.multiply(image, np.float32(0))], [image], "zeros")
    xml, data = save_atomically(model, tmp_path), np.ones((1, 4), np.float32)
    zeros = np.zeros((1, 4))
    result = verify(xml, [], [data], [[zeros]], threads=1)
    assert (result.difference, result.problems) == (0, ())
    # Where everything is zero, no difference is small.
    assert verify(xml, [], [data], [[np.array([[0, 0, 0, 1e-30]])]], threads=1).difference == 1
    outputs = [np.full((1, 4), np.float64(value)) for value in (np.nan, np.inf)]
    assert all(verify(xml, [], [data], [[output]], threads=1).difference == np.inf for output in outputs)


def test_a_number_for_all_of_many_inputs_is_that_of_the_worst(tmp_path: Path) -> None:
    image = opset.parameter([1, 2], ov.Type.f32)
    model = ov.Model([opset.relu(image)], [image], "relu")
    xml = save_atomically(model, tmp_path)
    data = np.array([[1.0, 2.0]], np.float32)
    references = [[data + np.array([0.0, more])] for more in (0.5, 0.0, 0.25)]
    result = verify(xml, [], [data] * 3, references, threads=1)
    assert result.difference == pytest.approx(0.5 / 1.5)
    assert [problem.partition(":")[0] for problem in result.problems] == ["input 0, output 0", "input 2, output 0"]
    allowed = verify(xml, [], [data] * 3, references, threads=1, tolerance=0.5 / 1.5 + 1e-9)
    assert allowed.passed
    assert allowed.tolerance == 0.5 / 1.5 + 1e-9
    assert "up to 3e-01 passes" in allowed.warnings[0]


def test_what_follows_a_problem_is_compared_too(tmp_path: Path) -> None:
    network = Network(0, 8)
    xml, outputs = saved(network, residual_chain(network), tmp_path)
    changed = outputs[1].copy()
    changed[0, 0, 0, 0] += 0.5
    references = [outputs, outputs[:1], [outputs[0][:, :3], changed], outputs]
    result = verify(xml, network.layers, [network.data] * 4, references, threads=1)
    assert [problem.partition(",")[0] for problem in result.problems] == [
        "input 1: found 2 outputs",
        "input 2",
        "input 2",
    ]
    assert "input 2, output 1: 1 of" in result.problems[2]


def test_a_difference_as_large_as_the_tolerance_passes(tmp_path: Path) -> None:
    image = opset.parameter([1, 2], ov.Type.f32)
    xml = save_atomically(ov.Model([opset.relu(image)], [image], "relu"), tmp_path)
    data, reference = np.array([[1.0, 2.0]], np.float32), np.array([[1.0, 3.0]])
    assert verify(xml, [], [data], [[reference]], threads=1, tolerance=0.5).passed
    assert not verify(xml, [], [data], [[reference]], threads=1, tolerance=0.4999).passed


def test_the_file_is_read_and_not_mapped(tmp_path: Path) -> None:
    """A mapped file that another process overwrites ends this one."""
    maps = Path("/proc/self/maps")
    if not maps.is_file():
        pytest.skip("needs Linux's list of mapped files")
    network = Network(0, 8)
    xml, outputs = saved(network, residual_chain(network), tmp_path)
    seen: list[str] = []

    class Looking(list[np.ndarray]):
        def __iter__(self) -> Iterator[np.ndarray]:
            seen.append(maps.read_text())
            return super().__iter__()

    assert verify(xml, network.layers, Looking([network.data]), [outputs], threads=1).passed
    assert len(seen) == 1
    assert str(xml.with_suffix(".bin")) not in seen[0]


def test_a_layer_that_was_folded_is_reported(tmp_path: Path) -> None:
    image = opset.parameter([1, 2], ov.Type.f32)
    numbers = opset.constant(np.ones((2, 2), np.float32))
    layer = opset.matmul(numbers, numbers, False, False)
    layer.set_friendly_name("constant")
    model = ov.Model([opset.add(opset.relu(image), layer)], [image], "model")
    # Where the layer keeps its name.
    xml = tmp_path / "model.xml"
    ov.save_model(model, xml, compress_to_fp16=False)
    result = verify(xml, ["constant"], [], [], threads=1)
    assert result.float_layers == (FloatLayer("constant", None, "the plugin has fused or removed it"),)
