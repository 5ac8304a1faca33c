"""Weights for GPU and NPU: the pattern of their compilers, and the numbers of the CPU's form."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import openvino as ov
import pytest
from hypothesis import given
from hypothesis import strategies as st
from openvino import opset13 as opset
from openvino.passes import Matcher, Or, WrapType

from nncf_mcq.config.output_files import RunResult
from nncf_mcq.config.schema import load_config
from nncf_mcq.errors import ConfigError, QuantizationError
from nncf_mcq.ir.packing import UnpackedWeight, int8_weight, packed_weight, unpack_weight
from nncf_mcq.ir.plain_weights import plain_weight, with_plain_weights
from nncf_mcq.job import Job
from nncf_mcq.model.inference import compile_model
from nncf_mcq.summaries.result import result_lines
from tests.commands import write_config

ALLOWED = {ov.Type.i4, ov.Type.u4, ov.Type.i8, ov.Type.u8}


def matches(weight: ov.Node) -> bool:
    """Whether a weight has the form of OpenVINO's `CompressedWeightsBlock`, and of the GPU plugin's patterns.

    As their sources have it: an integer constant, converted; less a constant, converted or not, or nothing; times one.
    """
    constant = WrapType("opset1.Constant")
    convert = WrapType("opset1.Convert", constant.output(0))
    zero_point = WrapType("opset1.Constant")
    converted = WrapType("opset1.Convert", zero_point.output(0))
    subtracted = Or(
        [
            WrapType("opset1.Subtract", [convert.output(0), converted.output(0)]).output(0),
            WrapType("opset1.Subtract", [convert.output(0), zero_point.output(0)]).output(0),
        ]
    )
    scale = WrapType("opset1.Constant")
    integers = Or([subtracted.output(0), convert.output(0)])
    pattern = WrapType("opset1.Multiply", [integers.output(0), scale.output(0)])
    matcher = Matcher(pattern, "compressed weights")
    if not matcher.match(weight.output(0)):
        return False
    return matcher.get_pattern_value_map()[constant].get_element_type() in ALLOWED


def evaluated(node: ov.Node) -> np.ndarray:
    model = ov.Model([opset.result(opset.add(node, opset.constant(np.float32(0))))], [])
    return np.array(compile_model(model, 1)([])[0])


@given(
    st.sampled_from([4, 8]),
    st.integers(0, 2**31),
    st.booleans(),
    st.sampled_from([(6, 5), (4, 3, 3, 3), (4, 1, 1, 3, 3)]),
)
def test_the_numbers_are_those_of_the_form_for_the_cpu(
    bits: int, seed: int, asymmetric: bool, shape: tuple[int, ...]
) -> None:
    random = np.random.default_rng(seed)
    levels = random.integers(0, 2**bits, shape).astype(np.uint8)
    channels = (shape[0], *(1,) * (len(shape) - 1))
    scale = random.uniform(1e-4, 1e-1, channels).astype(np.float32)
    zero_point = random.integers(0, 16, channels) if asymmetric and bits == 4 else np.asarray(2 ** (bits - 1))
    packed = packed_weight(levels, bits, scale, zero_point)
    found = unpack_weight(packed)
    assert found is not None
    plain = plain_weight(found)
    assert matches(plain)
    assert matches(packed) is (bits == 8)
    assert np.array_equal(evaluated(plain), evaluated(packed))
    assert np.array_equal(evaluated(plain), found.values)


def test_levels_in_the_middle_are_signed_integers() -> None:
    levels = np.arange(1, 16, dtype=np.uint8).reshape(3, 5)
    scale = np.full((3, 1), 0.5, np.float32)
    signed = plain_weight(UnpackedWeight(levels, 4, scale, np.asarray(8)))
    assert signed.input_value(0).get_node().input_value(0).get_element_type() == ov.Type.i4
    unsigned = plain_weight(UnpackedWeight(levels, 4, scale, np.array([[8], [8], [7]])))
    subtract = unsigned.input_value(0).get_node()
    assert subtract.get_type_name() == "Subtract"
    assert [value.get_node().input_value(0).get_element_type() for value in subtract.input_values()] == [ov.Type.u4] * 2
    with pytest.raises(QuantizationError, match=r"found 3, allowed in the form of GPU and NPU: \[4, 8\]"):
        plain_weight(UnpackedWeight(levels % 8, 3, scale, np.asarray(4)))


def test_every_layer_of_a_model_is_written_so_and_nothing_else(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    data = opset.parameter([1, 3, 8, 8], ov.Type.f32, name="data")
    weights = [
        packed_weight(random.integers(1, 16, shape).astype(np.uint8), 4, 0.1, 8) for shape in ((4, 3, 3, 3), (10, 144))
    ]
    other = int8_weight(random.integers(1, 256, (4, 1, 1, 3, 3)).astype(np.uint8), 8, 0.01, 128)
    convolution = opset.convolution(data, weights[0], [1, 1], [0, 0], [0, 0], [1, 1], name="convolution")
    depthwise = opset.group_convolution(convolution, other, [1, 1], [1, 1], [1, 1], [1, 1], name="depthwise")
    flat = opset.reshape(depthwise, opset.constant([1, 144]), special_zero=False)
    model = ov.Model([opset.matmul(flat, weights[1], False, True, name="product")], [data])
    plain = with_plain_weights(model)
    ov.save_model(plain, tmp_path / "plain.xml", compress_to_fp16=False)
    read = ov.Core().read_model(tmp_path / "plain.xml")
    layers = {node.get_friendly_name(): node for node in read.get_ordered_ops()}
    for name in ("convolution", "depthwise", "product"):
        assert matches(layers[name].input_value(1).get_node()), name
    image = random.normal(size=(1, 3, 8, 8)).astype(np.float32)
    before, after = (np.array(compile_model(found, 1)(image)[0]) for found in (model, read))
    assert np.allclose(before, after, rtol=1e-5, atol=1e-5)
    # A byte for two of the 4-bit weights, a byte for each of the others, and scales.
    assert (tmp_path / "plain.bin").stat().st_size < (108 + 1440) // 2 + 36 + 100


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = write_config(tmp_path_factory.mktemp("device"), {"type": "ilp"}, correction={"rounding": "nearest"})
    data = json.loads(path.read_text())
    data["compression"]["initializer"] |= {"range": "max"}
    data["compression"]["initializer"]["precision"]["budget"]["weight_size"]["average_bits"] = 6
    path.write_text(json.dumps(data))
    return path


def test_a_model_for_the_npu_has_widths_that_it_knows(config: Path, tmp_path: Path) -> None:
    result = Job.read(config, {"target_device": "NPU"}).run()
    assert set(result.policy.weight_bits.values()) == {4, 8}
    model = ov.Core().read_model(result.save(tmp_path))
    types = [node.get_element_type() for node in model.get_ordered_ops() if node.get_type_name() == "Constant"]
    assert ov.Type.i4 in types
    assert not {ov.Type.u2, ov.Type.u3, ov.Type.u4, ov.Type.u6} & set(types)
    written = json.loads((tmp_path / "result.json").read_text())
    assert written["verified"]
    assert written["remark"].startswith("the figures were measured on the CPU; nothing was run on the device NPU, ")
    assert f"note: {written['remark']}" in result_lines(result, tmp_path)
    # Whoever reads the report reads it first.
    assert RunResult.model_validate(written).warnings[0] == written["remark"]
    # The kernels of the device are not known, those of the CPU are of no interest.
    assert written["references"]["float"] == {"average_weight_bits": 32.0}
    assert {layer.get("runtime_precision") for layer in written["layers"]} == {None}
    assert load_config(tmp_path / "config.json").compression.weights.mode == "symmetric"


def test_a_model_for_any_device_runs_on_integers_here(config: Path, tmp_path: Path) -> None:
    result = Job.read(config, {"target_device": "ANY", "compression.initializer.precision": {"type": "uniform"}}).run()
    result.save(tmp_path)
    assert "remark" not in json.loads((tmp_path / "result.json").read_text())
    assert {layer.bits for layer in result.layers} == {8}
    assert all(layer.is_integer for layer in result.layers)


def test_a_policy_with_other_widths_is_refused_before_anything_is_computed(config: Path) -> None:
    job = Job.read(
        config, {"target_device": "GPU", "compression.initializer.precision": {"type": "uniform", "bits": 3}}
    )
    with pytest.raises(ConfigError) as caught:
        job.run()
    assert str(caught.value) == (
        "compression.initializer.precision: found 3, allowed: 4 and 8, the bit-widths of weights with target_device GPU"
    )
