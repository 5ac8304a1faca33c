from __future__ import annotations

import dataclasses
import struct
from pathlib import Path
from types import ModuleType

import numpy as np
import openvino as ov
import pytest
import torch

from nncf_mcq.config.catalog import find_config
from nncf_mcq.errors import ConfigError
from nncf_mcq.ir.template import build_template, place_activation_quantizers, shared_grids
from nncf_mcq.job import Job
from nncf_mcq.model.algorithm import ValueRange
from nncf_mcq.model.darknet import load_darknet_weights
from nncf_mcq.model.layers import find_layers
from nncf_mcq.model.loading import to_openvino
from nncf_mcq.model.nodes import operations_by_name
from openvino_eval.layers import count_integer_layers, runtime_layers
from tests.models import run
from tests.recipes.conftest import LoadRecipeFile
from tests.recipes.yolo_data import write_data

SIZE = 64
CLASSES = 3


@pytest.fixture
def yolo(load_recipe_file: LoadRecipeFile) -> ModuleType:
    return load_recipe_file("yolov3/model.py")


def sigmoid(value: float) -> float:
    return 1 / (1 + np.exp(-value))


def test_decoder_equals_the_papers_formulas(yolo: ModuleType) -> None:
    heads = (yolo.Head(32, ((20, 30), (40, 50))), yolo.Head(16, ((10, 8),)))
    random = np.random.default_rng(0)
    features = [
        random.normal(size=(2, len(head.anchors) * (5 + CLASSES), 96 // head.stride, 64 // head.stride))
        for head in heads
    ]
    found = yolo.Decoder(heads, CLASSES, (96, 64))([torch.tensor(item, dtype=torch.float32) for item in features])
    expected = []
    for image in range(2):
        rows = []
        for head, item in zip(heads, features, strict=True):
            separate = item[image].reshape(len(head.anchors), 5 + CLASSES, *item.shape[2:])
            for anchor, (width, height) in enumerate(head.anchors):
                for y, x in np.ndindex(*item.shape[2:]):
                    raw = separate[anchor, :, y, x]
                    centre = [(sigmoid(raw[0]) + x) * head.stride, (sigmoid(raw[1]) + y) * head.stride]
                    rows.append([*centre, width * np.exp(raw[2]), height * np.exp(raw[3]), *map(sigmoid, raw[4:])])
        expected.append(rows)
    np.testing.assert_allclose(found.numpy(), expected, rtol=1e-4, atol=1e-4)


def test_overlapping_pool_pads_at_the_bottom_and_right(yolo: ModuleType) -> None:
    features = torch.tensor([[[[1.0, 5.0, 2.0], [-7.0, -8.0, -9.0], [-3.0, -2.0, -6.0]]]])
    found = yolo.OverlappingMaxPool()(features)
    assert found.tolist() == [[[[5.0, 5.0, 2.0], [-2.0, -2.0, -6.0], [-2.0, -2.0, -6.0]]]]


@pytest.mark.parametrize("name, parameters", [("create_yolov3_tiny", 8_858_734), ("create_yolov3", 62_001_757)])
def test_takes_as_many_parameters_as_the_published_files_have(
    yolo: ModuleType, tmp_path: Path, name: str, parameters: int
) -> None:
    path = tmp_path / "x.weights"
    content = struct.pack("<3iq", 0, 2, 0, 0)
    path.write_bytes(content + np.full(parameters, 0.5, dtype="<f4").tobytes())
    load_darknet_weights(getattr(yolo, name)(), path)


def test_input_size_must_be_a_multiple_of_the_largest_stride(yolo: ModuleType) -> None:
    with pytest.raises(TypeError, match=r"input_size: found \[400, 416\], allowed: two multiples of 32"):
        yolo.create_yolov3_tiny(input_size=[400, 416])


@pytest.mark.parametrize("name, boxes", [("create_yolov3_tiny", 2535), ("create_yolov3", 10647)])
def test_number_of_boxes_at_the_published_size(yolo: ModuleType, name: str, boxes: int) -> None:
    assert getattr(yolo, name)().decode.anchors.shape == (1, boxes, 2)


def test_conversion_keeps_the_outputs_at_any_batch_size(yolo: ModuleType) -> None:
    torch.manual_seed(0)
    model = yolo.create_yolov3_tiny(CLASSES, (SIZE, SIZE))
    images = torch.rand(3, 3, SIZE, SIZE)
    converted = to_openvino(model, [1, 3, SIZE, SIZE])
    with torch.no_grad():
        expected = model(images).numpy()
    np.testing.assert_allclose(run(converted, images.numpy(), threads=1, batch_size=2), expected, rtol=1e-3, atol=1e-3)


def overrides(root: Path, model: str, size: int, bits: int) -> dict[str, object]:
    return {
        "checkpoint": None,
        "model_arguments": {"input_size": [size, size]},
        "input_info.sample_size": [1, 3, size, size],
        "dataset.root": str(root),
        "dataset.preprocessing.size": [size, size],
        "dataset.split.calibration": 1,
        "compression.activations.bits": bits,
        "compression.initializer.precision": {"type": "uniform", "bits": bits},
        "compression.correction": {"rounding": "nearest", "bias": False, "gain": "none", "sequential": False},
        "compression.initializer.range": "max",
    }


def check_grids(model: ov.Model) -> None:
    """One grid at each Concat and around the upsampling before it, which the CPU plugin needs; none on the boxes."""
    nodes = operations_by_name(model)
    upsampled = [node for node in nodes.values() if node.get_type_name() == "Interpolate"]
    concats = [
        node
        for node in nodes.values()
        if node.get_type_name() == "Concat" and any(_origin(value) in upsampled for value in node.input_values())
    ]
    assert len(concats) == len(upsampled) > 0
    for concat in concats:
        quantizers = [value.get_node() for value in concat.input_values()]
        assert {node.get_type_name() for node in quantizers} == {"FakeQuantize"}
        before = [
            _origin(node.input_value(0)).input_value(0).get_node()
            for node in quantizers
            if _origin(node.output(0)) in upsampled
        ]
        assert len({_range(node) for node in [*quantizers, *before]}) == 1
    # Behind the heads nothing is quantized.
    pending, seen = [model.get_results()[0].input_value(0).get_node()], set()
    while pending:
        node = pending.pop()
        if node.get_name() in seen or node.get_type_name() == "Convolution":
            continue
        seen.add(node.get_name())
        assert node.get_type_name() != "FakeQuantize"
        pending.extend(value.get_node() for value in node.input_values())


def _origin(value: ov.Output) -> ov.Node:
    """What computes a value, before its quantizers."""
    node = value.get_node()
    while node.get_type_name() == "FakeQuantize":
        node = node.input_value(0).get_node()
    return node


def _range(quantizer: ov.Node) -> tuple[float, ...]:
    assert quantizer.get_type_name() == "FakeQuantize"
    return tuple(float(quantizer.input_value(port).get_node().get_data().item()) for port in (1, 2))


@pytest.mark.parametrize("name", ["create_yolov3_tiny", pytest.param("create_yolov3", marks=pytest.mark.slow)])
@pytest.mark.parametrize("bits", [4, 8])
def test_steps_at_the_upsampling(yolo: ModuleType, name: str, bits: int) -> None:
    quantizable = find_layers(to_openvino(getattr(yolo, name)(CLASSES, (SIZE, SIZE)), [1, 3, SIZE, SIZE]))
    points = quantizable.activation_points
    # Every point has a range of its own.
    ranges = {
        point.name: ValueRange(np.array(-1.0 - index, dtype=np.float32), np.array(1.0 + index, dtype=np.float32))
        for index, point in enumerate(points)
    }
    check_grids(build_template(place_activation_quantizers(quantizable), points, ranges, dict.fromkeys(ranges, bits)))


def test_what_gets_one_grid_is_one_choice_of_a_policy(yolo: ModuleType) -> None:
    # NNCF asks for one scale at the Concat; the quantizer before the upsampling joins: its values go on unchanged.
    quantizable = find_layers(to_openvino(yolo.create_yolov3_tiny(CLASSES, (SIZE, SIZE)), [1, 3, SIZE, SIZE]))
    (joined,) = shared_grids(place_activation_quantizers(quantizable), quantizable.activation_points)
    (at_the_concat,) = quantizable.unified_scales
    assert set(joined) > set(at_the_concat)
    groups = dataclasses.replace(quantizable, shared_grids=(joined,)).activation_groups
    assert [members for members in groups.values() if set(members) & set(joined)] == [
        tuple(point.name for point in quantizable.activation_points if point.name in joined)
    ]


def quantize(name: str, folder: Path, size: int, bits: int) -> tuple[Path, dict[str, dict[str, float]]]:
    write_data(folder / "data", images=4)
    result = Job.read(find_config(name), overrides(folder / "data", name, size, bits)).run()
    check_grids(result.model)
    return result.save(folder / "ir"), result.metrics


@pytest.mark.slow
@pytest.mark.parametrize("bits", [6, 8])
def test_tiny_is_int8_everywhere_but_behind_its_heads(tmp_path: Path, bits: int) -> None:
    pytest.importorskip("pycocotools")
    xml, metrics = quantize("yolov3_tiny", tmp_path, SIZE, bits)
    assert count_integer_layers(runtime_layers(xml, threads=1)) == (13, 13)
    for values in metrics.values():
        assert 0 <= values["map"] <= values["map50"] <= 1


@pytest.mark.slow
def test_yolov3_with_random_weights_at_the_published_size(tmp_path: Path) -> None:
    pytest.importorskip("pycocotools")
    xml, _ = quantize("yolov3", tmp_path, 416, 8)
    assert count_integer_layers(runtime_layers(xml)) == (75, 75)


def test_missing_weights_say_what_to_fetch_and_where_to_put_it(tmp_path: Path) -> None:
    write_data(tmp_path / "data", images=2)
    path = tmp_path / "nowhere" / "yolov3-tiny.weights"
    changes = {"checkpoint": str(path), "dataset.root": str(tmp_path / "data"), "dataset.split.calibration": 1}
    with pytest.raises(ConfigError) as caught:
        Job.read(find_config("yolov3_tiny"), changes).run()
    assert str(caught.value) == (
        f"checkpoint: found '{path}', allowed: yolov3-tiny.weights from "
        "https://pjreddie.com/media/files/yolov3-tiny.weights, put there"
    )


@pytest.mark.slow
def test_float_precision_of_the_published_weights(shared_data: Path) -> None:
    pytest.importorskip("pycocotools")
    weights, images = shared_data / "yolov3-tiny" / "yolov3-tiny.weights", shared_data / "coco128"
    if not weights.is_file() or not images.is_dir():
        pytest.skip(f"needs {weights} and {images}")
    from nncf_mcq.metrics.metrics import METRICS

    job = Job.read(find_config("yolov3_tiny"), {"checkpoint": str(weights), "dataset.root": str(images)})
    report = job.load_dataset().report
    samples = [report[index] for index in range(len(report))]
    assert len(samples) == 96
    outputs = run(job.openvino_model(), np.stack([image for image, _ in samples]), threads=2, batch_size=8)
    targets = [target for _, target in samples]
    assert METRICS["map50"](outputs, targets) == pytest.approx(0.454, abs=0.002)
    assert METRICS["map"](outputs, targets) == pytest.approx(0.229, abs=0.002)
