from __future__ import annotations

import dataclasses
import itertools
import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import openvino as ov
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from openvino import opset13 as opset

from nncf_mcq import QuantizationError
from nncf_mcq.ir.assemble import layer_bytes
from nncf_mcq.ir.packing import packed_weight, unpack_weight
from nncf_mcq.ir.plain_weights import with_plain_weights
from nncf_mcq.ir.trellis_reading import read_coded
from nncf_mcq.ir.trellis_weights import trellis_weights
from nncf_mcq.ir.verification import verify
from nncf_mcq.ir.writer import save_atomically
from nncf_mcq.model.algorithm import ValueRange
from nncf_mcq.model.inference import compile_model
from nncf_mcq.model.layer_forms import LayerKind
from nncf_mcq.model.layers import QuantizableLayer
from nncf_mcq.pipeline.calibrated_model import CalibratedModel
from nncf_mcq.policy import Policy
from nncf_mcq.testing.networks import images, small_config, small_network
from nncf_mcq.utils.progress import SilentProgress, Stages
from nncf_mcq.weights.layer_quantizer import QuantizedWeight
from nncf_mcq.weights.trellis import MEMORY, TRELLIS_BITS, can_be_coded, decode
from nncf_mcq.weights.weight_table import WeightTable
from tests.ir.networks import fake_quantize

WIDTHS = (2, 3, 4, 5, 6, 8)

SHAPES: list[tuple[LayerKind, tuple[int, ...], bool]] = [
    ("convolution", (64, 32, 3, 3), False),
    ("convolution", (37, 3, 3, 3), False),
    ("convolution", (96, 5, 1, 1), False),
    ("convolution", (7, 3, 1, 1), False),
    ("convolution", (64, 1, 1, 1), False),
    ("convolution", (61, 4, 5), False),
    ("matmul", (64, 24), False),
    ("matmul", (1, 64, 7), False),
    ("matmul", (1000, 9), False),
    ("matmul", (24, 128), True),
    ("matmul", (11, 13), True),
    ("matmul", (5, 2), True),
]


def coded_layer(name: str, kind: LayerKind, shape: tuple[int, ...], transposed: bool = False) -> QuantizableLayer:
    axis = len(shape) - 2 + transposed if kind == "matmul" else 0
    rows = shape[axis]
    return QuantizableLayer(name, kind, 1, shape, 1, rows, math.prod(shape) // rows, transposed, 0, (), name)


def random_entry(layer: QuantizableLayer, bits: int, seed: int, scale: float | None = None) -> QuantizedWeight:
    random = np.random.default_rng(seed)
    channels = (1, layer.rows)
    scales = random.uniform(0.001, 0.01, channels) if scale is None else np.full(channels, scale)
    return QuantizedWeight(
        bits=bits,
        levels=random.integers(0, 2**bits, (1, layer.rows, layer.columns)).astype(np.uint8),
        zero_point=np.zeros(channels, dtype=np.uint8),
        scale=scales.astype(np.float32),
        bias_shift=np.zeros(channels, dtype=np.float32),
        relative_error=0.0,
        rule="trellis",
        rule_counts={},
        rule_errors={},
        choice_error=0.0,
        clip=ValueRange(np.full((1, 1), -1, np.float32), np.full((1, 1), 1, np.float32)),
        coding="trellis",
    )


def check(coded: Mapping[str, tuple[QuantizableLayer, QuantizedWeight]], folder: Path) -> None:
    """What is computed after a file was read, and what is read back, are what was written."""
    nodes = trellis_weights(coded)
    xml = save_atomically(ov.Model([nodes[name] for name in coded], [], "weights"), folder)
    model = ov.Core().read_model(xml)
    found = compile_model(model, 1)([])
    for index, (layer, entry) in enumerate(coded.values()):
        integers = decode(entry.levels[0], entry.bits).astype(np.float32)
        values = layer.from_matrices((integers * entry.scale[0][:, None])[None])
        np.testing.assert_array_equal(found[index], values)
        unpacked = unpack_weight(model.get_results()[index].input_value(0).get_node())
        assert unpacked is not None
        assert (unpacked.coding, unpacked.bits) == ("trellis", entry.bits)
        np.testing.assert_array_equal(unpacked.levels, layer.from_matrices(entry.levels))
        np.testing.assert_array_equal(unpacked.values, values)
        np.testing.assert_array_equal(entry.values, (integers * entry.scale[0][:, None])[None])


@pytest.mark.parametrize("widths", [TRELLIS_BITS, (2,), (3,), (4,), (5,), (5, 3, 3)])
def test_what_is_computed_and_read_back_is_the_code(widths: tuple[int, ...], tmp_path: Path) -> None:
    coded = {}
    for index, form in enumerate(SHAPES):
        layer = coded_layer(f"layer{index}", *form)
        coded[layer.name] = layer, random_entry(layer, widths[index % len(widths)], index, 0.5 if index == 3 else None)
    check(coded, tmp_path)


@pytest.mark.parametrize("bits", TRELLIS_BITS)
@pytest.mark.parametrize("form", SHAPES)
def test_a_layer_by_itself(form: tuple[LayerKind, tuple[int, ...], bool], bits: int, tmp_path: Path) -> None:
    layer = coded_layer("layer", *form)
    check({"layer": (layer, random_entry(layer, bits, bits))}, tmp_path)


@contextmanager
def larger(part: int, many: int) -> Iterator[None]:
    """Makes layers of `part` weights large ones, and models of `many`."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("nncf_mcq.ir.trellis_weights.PART_WEIGHTS", part)
        patch.setattr("nncf_mcq.ir.trellis_windows.MANY_WEIGHTS", many)
        yield


@pytest.mark.parametrize("widths", [TRELLIS_BITS, (4,), (5, 3, 3)])
@pytest.mark.parametrize(("part", "many"), [(0, 0), (1000, 0), (5000, 0), (5000, 1 << 30), (1 << 30, 0)])
def test_large_layers_and_models(part: int, many: int, widths: tuple[int, ...], tmp_path: Path) -> None:
    coded = {}
    for index, form in enumerate([*SHAPES, *SHAPES]):
        layer = coded_layer(f"layer{index}", *form)
        coded[layer.name] = layer, random_entry(layer, widths[index % len(widths)], index)
    with larger(part, many):
        check(coded, tmp_path)


@settings(max_examples=30)
@given(
    st.lists(
        st.tuples(st.integers(2, 140), st.integers(1, 9), st.sampled_from([1, 3]), st.sampled_from(TRELLIS_BITS)),
        min_size=1,
        max_size=6,
    ),
    st.sampled_from([0, 300, 1000, 1 << 30]),
    st.sampled_from([0, 1 << 30]),
)
def test_layers_of_any_sizes_start_with_an_empty_window(
    sizes: list[tuple[int, int, int, int]], part: int, many: int
) -> None:
    coded = {}
    for index, (outputs, inputs, kernel, bits) in enumerate(sizes):
        layer = coded_layer(f"layer{index}", "convolution", (outputs, inputs, kernel, kernel))
        entry = random_entry(layer, bits, index)
        # All branches set: whatever is left of them would be seen by the next layer.
        coded[layer.name] = layer, dataclasses.replace(entry, levels=(entry.levels | 1).astype(np.uint8))
    with TemporaryDirectory() as folder, larger(part, many):
        check(coded, Path(folder))


def test_other_layers_are_not_coded() -> None:
    layer = coded_layer("layer", "convolution", (64, 8, 3, 3))
    assert can_be_coded(layer)
    assert can_be_coded(coded_layer("layer", "matmul", (8, 64), True))
    assert not can_be_coded(coded_layer("layer", "convolution", (1, 8, 3, 3)))
    for kind in ("depthwise_convolution", "grouped_convolution", "transposed_convolution", "lstm", "gru", "embedding"):
        assert not can_be_coded(dataclasses.replace(layer, kind=kind))
    assert not can_be_coded(dataclasses.replace(layer, kind="matmul", groups=2))
    assert trellis_weights({}) == {}
    assert MEMORY == 5


def test_other_operations_are_no_code() -> None:
    bytes_ = opset.constant(np.zeros((4, 6), np.int8))
    flat = opset.reshape(bytes_, opset.constant(np.array([24])), False)
    indices = opset.convert(opset.constant(np.zeros(4, np.int8)), "i32")
    for node in (bytes_, flat, opset.reshape(opset.gather(bytes_, indices, 0), opset.constant(np.array([24])), False)):
        assert read_coded(node.output(0)) is None


def written(part: int = 1 << 30) -> dict[str, ov.Node]:
    """The integers of layers that are brought into shape together, and of one by itself."""
    layers = [coded_layer(f"layer{index}", *SHAPES[index]) for index in (0, 0, 9)]
    names = ["first", "second", "transposed"]
    with larger(part, 0):
        nodes = trellis_weights(
            {name: (layer, random_entry(layer, 3, 1)) for name, layer in zip(names, layers, strict=True)}
        )
    return {name: node.input_value(0).get_node().input_value(0).get_node() for name, node in nodes.items()}


def ordered(node: ov.Node, kind: str) -> list[ov.Node]:
    return [found for found in ov.Model([node], [], "m").get_ordered_ops() if found.get_type_name() == kind]


@pytest.mark.parametrize("part", [0, 1 << 30])
def test_elements_in_another_order_are_no_code(part: int) -> None:
    nodes = written(part)
    first, second = nodes["first"], nodes["second"]
    assert read_coded(first.output(0)) is not None
    rows = opset.constant(np.int64(0))
    lengths = opset.constant(np.array([10, 54]))
    number, dynamic = opset.parameter([4], ov.Type.i64), opset.parameter([-1], ov.Type.i64)
    for other in (
        opset.transpose(first, opset.constant(np.array([0, 1, 3, 2]))),
        opset.transpose(first, opset.constant(np.zeros(0, np.int64))),
        opset.transpose(first, number),
        opset.reshape(first, number, False),
        opset.reshape(first, opset.constant(np.array([16, 128, 3, 3])), False),
        opset.shuffle_channels(first, 0, 32),
        opset.concat([first, second], 0),
        opset.concat([first, opset.parameter(list(first.shape), ov.Type.i8)], 1),
        opset.variadic_split(first, rows, lengths),
        opset.variadic_split(first, opset.parameter([], ov.Type.i64), lengths),
        opset.gather(first, opset.constant(np.array([0, 1])), rows),
        opset.gather(first, dynamic, rows),
        opset.gather(opset.parameter([-1, 8], ov.Type.i8), dynamic, rows),
    ):
        assert read_coded(other.output(0)) is None


@pytest.mark.parametrize("part", [0, 1 << 30])
@pytest.mark.parametrize("kind", ["Gather", "Range", "Convert", "Add", "Tile", "Reshape", "VariadicSplit"])
def test_other_constants_are_no_code(kind: str, part: int) -> None:
    """Whatever an operation reads is replaced: nothing fails, and what is read is not what was written."""
    for index in range(len(ordered(written(part)["first"], kind))):
        for port in range(3):
            node = written(part)["first"]
            levels = read_coded(node.output(0))
            assert levels is not None
            operation = ordered(node, kind)[index]
            if operation.get_input_size() <= port:
                continue
            source = operation.input_value(port)
            parameter = opset.parameter(source.get_partial_shape(), source.get_element_type())
            operation.input(port).replace_source_output(parameter.output(0))
            found = read_coded(node.output(0))
            assert found is None or np.array_equal(found.levels, levels.levels)


def test_other_tables_are_no_code() -> None:
    for kind in ("Gather", "Tile"):
        node = written()["first"]
        operation = ordered(node, kind)[-1]
        table = operation.input_value(0).get_node().get_data()
        operation.input(0).replace_source_output(opset.constant(table[::-1].copy()).output(0))
        assert read_coded(node.output(0)) is None


def chain(widths: tuple[int, ...], channels: list[int], coding: str) -> tuple[ov.Model, list[str]]:
    """Convolutions one behind the other, as a network that was quantized has them."""
    data = opset.parameter([1, channels[0], 6, 6], ov.Type.f32)
    coded = {}
    for index, (inputs, outputs) in enumerate(itertools.pairwise(channels)):
        layer = coded_layer(f"layer{index}", "convolution", (outputs, inputs, *[3 if index % 2 else 1] * 2))
        coded[layer.name] = layer, random_entry(layer, widths[index % len(widths)], index)
    nodes = trellis_weights(coded)
    if coding == "uniform":
        for name, (layer, entry) in coded.items():
            scale = entry.scale.reshape(layer.channel_shape())
            nodes[name] = packed_weight(layer.from_matrices(entry.levels), entry.bits, scale, 2 ** (entry.bits - 1))
    node: ov.Node = data
    for name, (layer, _) in coded.items():
        padding = [layer.weight_shape[-1] // 2] * 2
        node = fake_quantize(node, np.array(-1), np.array(1), 256)
        node = opset.convolution(node, nodes[name], [1, 1], padding, padding, [1, 1], name=name)
        bias = np.random.default_rng(layer.rows).normal(size=(1, layer.rows, 1, 1)).astype(np.float32)
        node = opset.relu(opset.add(node, opset.constant(bias)))
    return ov.Model([node], [data], "chain"), list(coded)


@pytest.mark.parametrize("widths", [(3,), (2, 3, 4, 5)])
def test_all_layers_run_in_int8_and_the_xml_stays_small(widths: tuple[int, ...], tmp_path: Path) -> None:
    channels = [16] * 3 + [32] * 6 + [64] * 6 + [128] * 7
    sizes = {}
    for coding in ("uniform", "trellis"):
        model, names = chain(widths, channels, coding)
        xml = save_atomically(model, tmp_path, coding)
        data = np.random.default_rng(0).normal(size=(1, 16, 6, 6)).astype(np.float32)
        result = verify(xml, names, [data], [[np.array(compile_model(model, 1)(data)[0])]], threads=1)
        assert not result.problems
        assert not result.float_layers
        assert len(result.precisions) >= len(names) == 21
        sizes[coding] = result.xml_bytes
    assert sizes["trellis"] <= 1.1 * sizes["uniform"]


def test_large_layers_run_in_int8(tmp_path: Path) -> None:
    model, names = chain((4, 4, 3, 5), [16, 512, 512, 512, 96, 96, 96], "trellis")
    kinds = [node.get_type_name() for node in model.get_ordered_ops()]
    assert {"Range", "Tile"} <= set(kinds)
    xml = save_atomically(model, tmp_path)
    data = np.random.default_rng(0).normal(size=(1, 16, 6, 6)).astype(np.float32)
    result = verify(xml, names, [data], [[np.array(compile_model(model, 1)(data)[0])]], threads=1)
    assert not result.problems
    assert not result.float_layers


def calibrated_and_table(coded_bits: Mapping[int, float]) -> tuple[CalibratedModel, WeightTable]:
    """A small network, of whose layers a share is trellis-coded at each width."""
    compression, stages = small_config(weight_bits=WIDTHS).compression, Stages(SilentProgress())
    calibrated = CalibratedModel.prepare(small_network(), images(4), compression, 1, stages)
    table, random = calibrated.weight_table(WIDTHS, stages), np.random.default_rng(0)
    entries: dict[str, dict[int, QuantizedWeight]] = {}
    for seed, layer in enumerate(calibrated.quantizable.layers):
        entries[layer.name] = dict(table.entries[layer.name])
        for bits, share in coded_bits.items():
            if can_be_coded(layer) and random.random() < share:
                scale = table[layer.name, bits].scale * np.float32(2**bits / 128)
                entries[layer.name][bits] = dataclasses.replace(random_entry(layer, bits, seed), scale=scale)
    return calibrated, WeightTable(entries)


def random_policies(calibrated: CalibratedModel, count: int) -> list[Policy]:
    random = np.random.default_rng(1)
    choices = calibrated.quantizable.choices(WIDTHS, (8,))
    drawn = [{group: int(random.choice(WIDTHS)) for group in choices} for _ in range(count)]
    drawn += [dict.fromkeys(choices, bits) for bits in WIDTHS]
    layers = calibrated.quantizable.layers
    return [Policy({layer.name: bits[layer.group] for layer in layers}, calibrated.activation_bits) for bits in drawn]


@pytest.mark.parametrize(
    ("coded_bits", "part", "many"),
    [
        *((dict.fromkeys(TRELLIS_BITS, share), *sizes) for share in (1.0, 0.5) for sizes in ((0, 0), (2000, 1 << 30))),
        *((dict.fromkeys(TRELLIS_BITS, share), 1 << 30, 1 << 30) for share in (1.0, 0.5)),
        *((shares, 1 << 30, 1 << 30) for shares in ({4: 1.0}, {5: 0.5}, {2: 1.0}, {2: 0.5, 5: 1.0})),
        ({2: 0.5, 5: 1.0}, 1 << 30, 0),
    ],
)
def test_no_file_is_larger_than_its_account(
    coded_bits: Mapping[int, float], part: int, many: int, tmp_path: Path
) -> None:
    with larger(part, many):
        check_account(coded_bits, 1000 if many else 5000, tmp_path)


def check_account(coded_bits: Mapping[int, float], room: int, tmp_path: Path) -> None:
    """No file is larger than its account, nor is it much smaller."""
    calibrated, table = calibrated_and_table(coded_bits)
    costs = calibrated.costs(table)
    assert costs.fixed_bytes is not None
    fixed, groups = costs.fixed_bytes(), calibrated.quantizable.groups
    for policy in random_policies(calibrated, 8):
        size = save_atomically(calibrated.build(policy, table), tmp_path).with_suffix(".bin").stat().st_size
        account = fixed + sum(layer_bytes(found[0], policy.weight_bits[name]) for name, found in groups.items())
        assert size <= account
        # Tables for other bit-widths, and lengths and shapes of all layers.
        assert account - size <= room + 150 * len(groups)


def test_both_forms_of_a_model_compute_the_same() -> None:
    calibrated, table = calibrated_and_table(dict.fromkeys(TRELLIS_BITS, 1.0))
    image = images(1)
    for policy in random_policies(calibrated, 2):
        packed, plain = (
            compile_model(calibrated.build(policy, table, packed=packed), 1)(image) for packed in (True, False)
        )
        for index in range(len(packed)):
            np.testing.assert_array_equal(packed[index], plain[index])


def test_other_devices_are_refused() -> None:
    model, _ = chain((4,), [16, 64, 64], "trellis")
    with pytest.raises(QuantizationError, match="layer0: trellis-coded weights run on CPUs only"):
        with_plain_weights(model)


@pytest.mark.parametrize("transposed", [False, True])
@pytest.mark.parametrize("beside", [False, True])
@pytest.mark.parametrize("shape", [(10, 512), (40, 128), (64, 128), (100, 30), (512, 512), (37, 8192), (1000, 264)])
def test_fully_connected_layers_run_in_int8(
    shape: tuple[int, int], beside: bool, transposed: bool, tmp_path: Path
) -> None:
    layer = coded_layer("layer", "matmul", shape[::-1] if transposed else shape, transposed)
    others = [coded_layer(f"other{index}", *form) for index, form in enumerate(SHAPES)] if beside else []
    coded = {other.name: (other, random_entry(other, 3, 2)) for other in others}
    weight = trellis_weights({"layer": (layer, random_entry(layer, 4, 1)), **coded})["layer"]
    data = opset.parameter([1, shape[1]], ov.Type.f32)
    product = opset.matmul(fake_quantize(data, np.array(-1), np.array(1), 256), weight, False, not transposed)
    product.set_friendly_name("layer")
    model = ov.Model([opset.relu(opset.add(product, opset.constant(np.ones((1, shape[0]), np.float32))))], [data], "m")
    xml = save_atomically(model, tmp_path)
    image = np.random.default_rng(0).normal(size=(1, shape[1])).astype(np.float32)
    result = verify(xml, ["layer"], [image], [[np.array(compile_model(model, 1)(image)[0])]], threads=1)
    assert not result.problems
    assert not result.float_layers
