from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import openvino as ov
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from openvino import opset13 as opset

from nncf_mcq.errors import QuantizationError
from nncf_mcq.ir.packing import (
    bytes_on_disk,
    compressed_weight,
    folded_weight,
    int8_weight,
    is_compressed,
    packed_bytes,
    packed_weight,
    unpack_weight,
    zero_point_bytes,
)
from nncf_mcq.ir.verification import verify
from nncf_mcq.ir.writer import save_atomically
from nncf_mcq.model.nodes import LAYER_TYPES
from tests.cpu import SAFE, largest_weight
from tests.ir.networks import fake_quantize
from tests.ir.reference import interpret

STEP = 1 / 16


@dataclass(frozen=True)
class Case:
    kind: str
    bits: int
    batch: int
    groups: int
    outputs: int
    inputs: int
    kernel: int
    stride: int
    dilation: int
    zero_point: str
    per_channel: bool
    signed_input: bool
    tail: str
    seed: int

    @property
    def weight_shape(self) -> tuple[int, ...]:
        kernel = (self.kernel, self.kernel)
        return {
            "convolution": (self.outputs, self.inputs, *kernel),
            "grouped": (self.groups, self.outputs, self.inputs, *kernel),
            "depthwise": (self.groups, 1, 1, *kernel),
            "matmul": (self.inputs, self.outputs),
            "matmul transposed": (self.outputs, self.inputs),
        }[self.kind]

    @property
    def channel_shape(self) -> tuple[int, ...]:
        shape = self.weight_shape
        if self.kind == "matmul":
            return (1, shape[1])
        kept = 2 if self.kind in ("grouped", "depthwise") else 1
        return shape[:kept] + (1,) * (len(shape) - kept)

    @property
    def data_shape(self) -> tuple[int, ...]:
        if self.kind.startswith("matmul"):
            return (self.batch, self.inputs)
        channels = {"convolution": self.inputs, "grouped": self.groups * self.inputs, "depthwise": self.groups}
        size = (self.kernel - 1) * self.dilation + 1
        return (self.batch, channels[self.kind], size, size + 1)


CASES = st.builds(
    Case,
    kind=st.sampled_from(["convolution", "grouped", "depthwise", "matmul", "matmul transposed"]),
    bits=st.integers(2, 8),
    batch=st.sampled_from([1, 2]),
    groups=st.sampled_from([1, 2, 3, 5, 16, 17]),
    outputs=st.sampled_from([1, 2, 3, 5, 16, 17]),
    inputs=st.sampled_from([1, 2, 3, 5, 16, 17]),
    kernel=st.sampled_from([1, 2, 3, 5, 7]),
    stride=st.sampled_from([1, 2]),
    dilation=st.sampled_from([1, 2]),
    zero_point=st.sampled_from(["middle", "two", "near", "any", "far"]),
    per_channel=st.booleans(),
    signed_input=st.booleans(),
    tail=st.sampled_from(["nothing", "bias", "zero bias", "bias and ReLU", "Clamp"]),
    seed=st.integers(0, 2**32 - 1),
)


def zero_points(case: Case, random: np.random.Generator) -> np.ndarray | int:
    if case.bits == 8:
        return 128
    middle = 2 ** (case.bits - 1)
    return {
        "middle": lambda: middle,
        "two": lambda: middle - random.integers(0, 2, case.channel_shape),
        "near": lambda: middle - random.integers(0, 5, case.channel_shape),
        "any": lambda: random.integers(0, 2**case.bits, case.channel_shape),
        "far": lambda: random.integers(2**case.bits - 128, 129, case.channel_shape),
    }[case.zero_point]()


def layer(case: Case, data: ov.Node, weight: ov.Node) -> ov.Node:
    if case.kind.startswith("matmul"):
        return opset.matmul(data, weight, False, case.kind == "matmul transposed")
    padding = [case.kernel // 2] * 2
    operation = opset.convolution if case.kind == "convolution" else opset.group_convolution
    return operation(data, weight, [case.stride] * 2, padding, padding, [case.dilation] * 2)


def tail(case: Case, node: ov.Node, random: np.random.Generator) -> ov.Node:
    if "bias" in case.tail:
        rank = len(node.get_output_shape(0))
        axis = rank - 1 if case.kind.startswith("matmul") else 1
        shape = [1] * rank
        shape[axis] = node.get_output_shape(0)[axis]
        values = random.integers(-50, 50, shape) * STEP * (case.tail != "zero bias")
        node = opset.add(node, opset.constant(values.astype(np.float32)))
    if "ReLU" in case.tail:
        return opset.relu(node)
    return opset.clamp(node, 0.0, 6.0) if case.tail == "Clamp" else node


def stored_bytes(xml: Path) -> int:
    """Bytes of the constants of more than one byte-sized scalar: levels, scales and zero points."""
    constants = re.findall(r'<data element_type="(\w+)" shape="([^"]*)" offset="\d+" size="(\d+)"', xml.read_text())
    return sum(int(size) for kind, shape, size in constants if shape or kind.startswith("u"))


@settings(max_examples=60)
@given(case=CASES)
@example(case=Case("depthwise", 5, 1, 17, 1, 1, 3, 1, 1, "far", True, False, "bias", 0))
@example(case=Case("convolution", 7, 2, 1, 17, 3, 7, 2, 1, "two", True, True, "bias and ReLU", 1))
@example(case=Case("matmul transposed", 3, 1, 1, 17, 5, 1, 1, 1, "near", True, False, "zero bias", 2))
@example(case=Case("convolution", 4, 1, 1, 1, 1, 1, 1, 1, "two", True, False, "zero bias", 3))
def test_runs_in_int8_exactly_after_save_and_reload(case: Case) -> None:
    random = np.random.default_rng(case.seed)
    levels = random.integers(0, 2**case.bits, case.weight_shape)
    scale = 2.0 ** random.integers(-6, -4, case.channel_shape if case.per_channel else ())
    zero_point = zero_points(case, random)
    if (largest := largest_weight(adds_pairs=case.kind != "depthwise")) == SAFE:
        # Without VNNI others saturate.
        levels = levels.clip(2 ** (case.bits - 1) - largest, 2 ** (case.bits - 1) + largest)
        zero_point = np.clip(zero_point, levels.max() - largest, levels.min() + largest)
    lowest = -128 if case.signed_input else 0
    data = (random.integers(lowest, lowest + 256, case.data_shape) * STEP).astype(np.float32)

    parameter = opset.parameter(list(case.data_shape), ov.Type.f32)
    quantized = fake_quantize(parameter, np.array(lowest * STEP), np.array((lowest + 255) * STEP), 256)
    operation = layer(case, quantized, packed_weight(levels, case.bits, scale, zero_point))
    operation.set_friendly_name("layer")
    model = ov.Model([tail(case, operation, random)], [parameter], "model")
    references = [output.astype(np.float32) for output in interpret(model, data)]

    with TemporaryDirectory() as directory:
        xml = save_atomically(model, Path(directory))
        result = verify(xml, ["layer"], [data], [references], threads=1)
        assert not result.problems

        weight = next(node for node in ov.Core().read_model(xml).get_ops() if node.get_type_name() in LAYER_TYPES)
        unpacked = unpack_weight(weight.input_value(1).get_node())
    assert unpacked is not None
    assert unpacked.bits == case.bits
    np.testing.assert_array_equal(unpacked.levels, levels)
    np.testing.assert_array_equal(unpacked.values, (levels - zero_point) * scale)
    assert unpacked.zero_point.size <= np.size(zero_point)


@settings(max_examples=60)
@given(case=CASES)
def test_takes_the_predicted_bytes(case: Case) -> None:
    random = np.random.default_rng(case.seed)
    levels = random.integers(0, 2**case.bits, case.weight_shape)
    scale = random.uniform(0.5, 1.5, case.channel_shape)
    zero_point = zero_points(case, random)
    model = ov.Model([packed_weight(levels, case.bits, scale, zero_point)], [], "weight")
    with TemporaryDirectory() as directory:
        xml = save_atomically(model, Path(directory))
        assert stored_bytes(xml) == bytes_on_disk(case.weight_shape, case.bits, scale.size, zero_point)


@pytest.mark.parametrize("bits", range(2, 9))
def test_file_has_the_true_width(bits: int, tmp_path: Path) -> None:
    shape = (64, 48, 3, 3)
    levels = np.random.default_rng(bits).integers(0, 2**bits, shape)
    zero_point = 2 ** (bits - 1)
    save_atomically(ov.Model([packed_weight(levels, bits, 0.5, zero_point)], [], "weight"), tmp_path)
    levels_bytes = levels.size * bits // 8
    assert packed_bytes(levels.size, bits) == levels_bytes
    scale_and_zero_point = 4 + (bits != 8)
    assert (tmp_path / "model.bin").stat().st_size == levels_bytes + scale_and_zero_point


@pytest.mark.parametrize(("bits", "operations"), [(2, 4), (4, 4), (5, 7), (7, 7), (8, 2)])
def test_has_few_operations_that_are_fast_to_fold(bits: int, operations: int) -> None:
    # A Select between scalars takes fifty times as long as an Add: seconds in each start of a large model.
    zero_point = np.full((8, 1), 128) if bits == 8 else np.arange(8).reshape(8, 1) % 4
    weight = packed_weight(np.zeros((8, 3), np.int32), bits, np.ones((8, 1)), zero_point)
    kinds = [node.get_type_name() for node in ov.Model([weight], [], "weight").get_ops()]
    computing = [kind for kind in kinds if kind not in ("Constant", "Result")]
    assert len(computing) == operations
    assert set(computing) <= {"Convert", "Add", "Multiply"}


@pytest.mark.filterwarnings("ignore:overflow")
@pytest.mark.parametrize(
    ("levels", "bits", "scale", "zero_point", "message"),
    [
        (np.zeros((2, 3), np.int32), 9, 1.0, 0, r"weight bits: found 9, allowed: one of \[2, 3, 4, 5, 6, 7, 8\]"),
        (np.full((2, 3), 4), 2, 1.0, 0, r"weight levels: found 4\.\.4, allowed at 2 bits: 0\.\.3"),
        (np.full((2, 3), -1), 2, 1.0, 0, r"weight levels: found -1\.\.-1, allowed at 2 bits: 0\.\.3"),
        (np.zeros((2, 3)), 2, 1.0, 0, r"weight levels: found float64 of shape \(2, 3\), allowed: integers"),
        (np.zeros((0, 3), np.int32), 2, 1.0, 0, r"weight levels: found int32 of shape \(0, 3\), allowed: integers"),
        (np.zeros((2, 3), np.int32), 2, np.nan, 0, "weight scale: found a value that is not finite"),
        # In single precision, in which it is stored, it is infinite.
        (np.zeros((2, 3), np.int32), 2, 1e39, 0, "weight scale: found a value that is not finite"),
        (np.zeros((2, 3), np.int32), 2, np.ones(2), 0, r"weight scale: found shape \(2,\), allowed: broadcastable"),
        (np.zeros((2, 3), np.int32), 2, 1.0, np.ones((3, 1)), r"weight zero point: found shape \(3, 1\), allowed"),
        (
            np.zeros((2, 3), np.int32),
            2,
            1.0,
            129,
            r"weight zero point: found 129\.\.129, allowed at 2 bits: -124\.\.128",
        ),
        (
            np.zeros((2, 3), np.int32),
            8,
            1.0,
            127,
            r"weight zero point: found 127\.\.127, allowed at 8 bits: 128\.\.128",
        ),
    ],
)
def test_says_what_does_not_fit(levels: np.ndarray, bits: int, scale: Any, zero_point: Any, message: str) -> None:
    with pytest.raises(QuantizationError, match=message):
        packed_weight(levels, bits, scale, zero_point)


def test_other_constants_are_not_unpacked() -> None:
    constant = opset.constant(np.ones((2, 2), np.float32))
    assert unpack_weight(constant) is None
    assert unpack_weight(opset.multiply(constant, constant)) is None


@pytest.mark.parametrize("bits", range(2, 9))
def test_the_int8_form_has_the_values_of_the_packed_one(bits: int) -> None:
    random = np.random.default_rng(bits)
    levels = random.integers(0, 2**bits, (4, 3))
    points = np.full((4, 1), 128) if bits == 8 else random.integers(0, 2**bits, (4, 1))
    scale = random.uniform(0.1, 1.0, (4, 1)).astype(np.float32)
    packed, plain = (unpack_weight(make(levels, bits, scale, points)) for make in (packed_weight, int8_weight))
    assert packed is not None
    assert plain is not None
    assert plain.levels.dtype == packed.levels.dtype == np.uint8
    np.testing.assert_array_equal(plain.values, packed.values)
    np.testing.assert_array_equal(plain.values, (levels - points).astype(np.float32) * scale)


def constants_of(weight: ov.Node) -> list[ov.Node]:
    return [node for node in ov.Model([weight], [], "weight").get_ordered_ops() if node.get_type_name() == "Constant"]


@pytest.mark.parametrize("bits", [2, 4])
@pytest.mark.parametrize("per_channel", [False, True])
def test_the_compressed_form_has_the_values_of_the_packed_one(bits: int, per_channel: bool) -> None:
    random = np.random.default_rng(bits)
    levels = random.integers(0, 2**bits, (4, 3))
    points = np.array([[0], [1], [128], [2]]) if per_channel else np.full((4, 1), 1)
    scale = random.uniform(0.1, 1.0, (4, 1)).astype(np.float32)
    weight = compressed_weight(levels, bits, scale, points)
    assert is_compressed(weight)
    assert not is_compressed(packed_weight(levels, bits, scale, points))
    assert not is_compressed(weight.input_value(0).get_node())
    unpacked = unpack_weight(weight)
    assert unpacked is not None
    assert unpacked.bits == bits
    np.testing.assert_array_equal(unpacked.levels, levels)
    np.testing.assert_array_equal(unpacked.values, (levels - points).astype(np.float32) * scale)
    assert unpacked.zero_point.shape == ((4, 1) if per_channel else (1, 1))
    assert (unpacked.levels.dtype, unpacked.zero_point.dtype) == (np.uint8, np.int32)
    kinds = {node.get_element_type(): node.get_output_shape(0) for node in constants_of(weight)}
    assert set(kinds) == {{2: ov.Type.u2, 4: ov.Type.u4}[bits], ov.Type.u8, ov.Type.f32}


@pytest.mark.parametrize("make", [packed_weight, int8_weight])
@pytest.mark.parametrize("bits", [4, 8])
def test_a_folded_weight_has_the_same_values_and_no_integers_to_the_plugin(bits: int, make: Any) -> None:
    random = np.random.default_rng(bits)
    levels, points = random.integers(0, 2**bits, (4, 3)), 2 ** (bits - 1)
    weight = folded_weight(make(levels, bits, 0.5, points))
    # Half precision between the integers and the scale.
    convert = weight.input_value(0).get_node()
    assert (convert.get_type_name(), convert.get_element_type()) == ("Convert", ov.Type.f32)
    halves = convert.input_value(0).get_node()
    assert (halves.get_type_name(), halves.get_element_type()) == ("Convert", ov.Type.f16)
    assert halves.input_value(0).get_element_type() == ov.Type.i8
    unpacked = unpack_weight(weight)
    assert unpacked is not None
    np.testing.assert_array_equal(unpacked.values, (levels - points) * np.float32(0.5))
    model = ov.Model([weight], [], "weight")
    compiled = ov.Core().compile_model(model, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    np.testing.assert_array_equal(compiled([])[0], unpacked.values)


@pytest.mark.parametrize(
    ("count", "bits", "size"),
    [
        *((1, 1, 1), (8, 1, 1), (9, 1, 2), (4, 2, 1), (5, 2, 2), (8, 3, 3), (9, 3, 6), (2, 4, 1), (3, 4, 2)),
        *((8, 5, 5), (9, 5, 7), (4, 6, 3), (5, 6, 6), (8, 7, 7), (9, 7, 11), (1, 8, 1), (9, 8, 9)),
    ],
)
def test_bytes_are_whole_blocks(count: int, bits: int, size: int) -> None:
    assert packed_bytes(count, bits) == size
    assert bytes_on_disk((count, 1), bits) == bytes_on_disk((1, count), bits, 0, 128) == size
    assert bytes_on_disk((count, 1), bits, 3, np.array([3])) == size + 12


@pytest.mark.parametrize(
    ("points", "bits", "size"), [([1, 2, 2], 4, 3), ([2, 2, 2], 4, 0), ([5], 2, 0), ([1, 2], 8, 0)]
)
def test_zero_points_are_stored_where_they_differ(points: list[int], bits: int, size: int) -> None:
    assert zero_point_bytes(np.array(points), bits) == size


def test_other_forms_are_not_unpacked() -> None:
    random = np.random.default_rng(0)
    levels = random.integers(0, 16, (4, 3))
    number = opset.constant(np.float32(0.5))
    bytes_, half = opset.constant(levels.astype(np.uint8)), opset.constant(levels.astype(np.float16))
    converted = opset.convert(bytes_, "f32")
    plain = opset.constant(np.ones((4, 3), np.float32))
    data = opset.parameter([4, 3], ov.Type.i8)
    for other in (
        # Of another type than int8, or no constant at all.
        opset.multiply(converted, number),
        opset.multiply(opset.convert(half, "f32"), number),
        opset.multiply(opset.convert(data, "f32"), number),
        # A scale that is computed, and weights that are not converted.
        opset.multiply(opset.convert(opset.constant(levels.astype(np.int8)), "f32"), opset.add(number, number)),
        opset.multiply(plain, number),
        # A zero point that is none, of something that is not stored.
        opset.multiply(opset.subtract(converted, number), number),
        opset.multiply(opset.subtract(plain, opset.convert(bytes_, "f32")), number),
        opset.multiply(opset.subtract(opset.convert(data, "f32"), converted), number),
        opset.multiply(opset.subtract(converted, opset.convert(data, "f32")), number),
        opset.multiply(opset.subtract(converted, converted), opset.add(number, number)),
        opset.add(plain, number),
    ):
        assert unpack_weight(other) is None, other


def test_a_scale_of_half_precision_is_read_as_single() -> None:
    levels = opset.constant(np.array([[-1, 2]], np.int8))
    zero_points = opset.convert(opset.constant(np.array([[1]], np.uint8)), "f16")
    half = opset.constant(np.float16(0.1))
    bytes_ = opset.convert(opset.constant(np.array([[1, 2]], np.uint8)), "f16")
    for weight in (
        opset.multiply(opset.convert(levels, "f16"), half),
        opset.multiply(opset.subtract(bytes_, zero_points), half),
    ):
        unpacked = unpack_weight(weight)
        assert unpacked is not None
        assert unpacked.scale.dtype == np.float32
