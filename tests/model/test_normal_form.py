"""What every model is brought to before anything looks at it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import nncf
import numpy as np
import onnx
import openvino as ov
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper
from openvino import opset13 as opset
from openvino.preprocess import PrePostProcessor

from nncf_mcq import ConfigError, QuantizationError, quantize
from nncf_mcq.config.scopes import match_scope
from nncf_mcq.model.inference import compile_model
from nncf_mcq.model.layers import find_layers
from nncf_mcq.model.loading import load_model, to_openvino
from nncf_mcq.model.nodes import operations_by_name, source
from tests.models import (
    SAMPLE_SIZE,
    as_dataset,
    convolution,
    make_model,
    random_constant,
    random_images,
    small_network,
)

SETTINGS = {"runtime": {"threads": 1}, "input_info": {"sample_size": list(SAMPLE_SIZE)}}


def kinds(model: ov.Model) -> list[str]:
    return [item.get_type_name() for item in model.get_ordered_ops() if item.get_type_name() != "Constant"]


def output(model: ov.Model, image: np.ndarray) -> np.ndarray:
    return np.array(compile_model(model, 1)(image)[0])


def onnx_file(path: Path, nodes: Sequence[onnx.NodeProto], weights: dict[str, Sequence[int]], result: str) -> Path:
    """A model of input `x` (N, 3, 8, 8), with random initializers of the given shapes."""
    generator = np.random.default_rng(0)
    initializers = [
        numpy_helper.from_array(np.abs(generator.normal(size=shape)).astype(np.float32) * 0.3, name)
        for name, shape in weights.items()
    ]
    graph = helper.make_graph(
        list(nodes),
        "graph",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 3, 8, 8])],
        [helper.make_tensor_value_info(result, TensorProto.FLOAT, None)],
        initializers,
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8), path)
    return path


@pytest.fixture
def biased_onnx(tmp_path: Path) -> Path:
    """A convolution with bias and batch normalization, a residual scaled by a constant, and Gemm with bias."""
    nodes = [
        helper.make_node("Conv", ["x", "w0", "b0"], ["c0"], "Conv_0", pads=[1] * 4),
        helper.make_node("Relu", ["c0"], ["r0"], "Relu_1"),
        helper.make_node("Conv", ["r0", "w1"], ["c1"], "Conv_2", pads=[1] * 4),
        helper.make_node("BatchNormalization", ["c1", "gamma", "beta", "mean", "variance"], ["n1"], "Norm_3"),
        helper.make_node("Mul", ["n1", "factor"], ["m1"], "Mul_4"),
        helper.make_node("Add", ["m1", "r0"], ["a1"], "Add_5"),
        helper.make_node("GlobalAveragePool", ["a1"], ["p1"], "Pool_6"),
        helper.make_node("Flatten", ["p1"], ["f1"], "Flatten_7"),
        helper.make_node("MatMul", ["f1", "w2"], ["d1"], "MatMul_8"),
        helper.make_node("Gemm", ["d1", "w3", "b3"], ["y"], "Gemm_9", transB=1),
    ]
    shapes: dict[str, Sequence[int]] = {"w0": (8, 3, 3, 3), "b0": (8,), "w1": (8, 8, 3, 3), "factor": ()}
    shapes |= dict.fromkeys(("gamma", "beta", "mean", "variance"), (8,))
    shapes |= {"w2": (8, 6), "w3": (4, 6), "b3": (4,)}
    return onnx_file(tmp_path / "biased.onnx", nodes, shapes, "y")


def test_biases_and_normalizations_of_onnx_are_folded_into_constants(biased_onnx: Path) -> None:
    given = load_model(str(biased_onnx), base_directory=Path())
    assert isinstance(given, ov.Model)
    assert {"ShapeOf", "BatchNormInference"} <= set(kinds(given))
    model = to_openvino(given, SAMPLE_SIZE)
    assert kinds(model).count("Add") == 4  # two biases, the normalization's, and the residual
    assert not {"ShapeOf", "BatchNormInference", "Multiply"} & set(kinds(model))
    image = random_images(1)
    given.reshape(list(SAMPLE_SIZE))
    np.testing.assert_allclose(output(model, image), output(given, image), rtol=1e-4, atol=1e-5)


def test_names_of_onnx_nodes_stay_where_others_are_folded_into_them(biased_onnx: Path) -> None:
    layers = find_layers(to_openvino(load_model(str(biased_onnx), base_directory=Path()), SAMPLE_SIZE)).layers
    assert [layer.name for layer in layers] == [
        "Conv_0/WithoutBiases",
        "Conv_2",
        "MatMul_8",
        "Gemm_9/WithoutBiases",
    ]


@pytest.mark.parametrize("groups", [1, 2])
def test_a_folded_normalization_leaves_the_layer_its_name(groups: int, tmp_path: Path) -> None:
    # What OpenVINO notes of a fusion differs: of a convolution its name, of a grouped one that of its tensor only.
    nodes = [
        helper.make_node("Conv", ["x", "w0"], ["c0"], "first"),
        helper.make_node("Conv", ["c0", "w1"], ["c1"], "second", group=groups),
        helper.make_node("BatchNormalization", ["c1", "gamma", "beta", "mean", "variance"], ["n1"], "norm"),
        helper.make_node("Relu", ["n1"], ["y"], "activation"),
    ]
    shapes: dict[str, Sequence[int]] = {"w0": (8, 3, 1, 1), "w1": (8, 8 // groups, 3, 3)}
    shapes |= dict.fromkeys(("gamma", "beta", "mean", "variance"), (8,))
    file = onnx_file(tmp_path / "grouped.onnx", nodes, shapes, "y")
    model = to_openvino(load_model(str(file), base_directory=Path()), SAMPLE_SIZE)
    assert [layer.name for layer in find_layers(model).layers] == ["first", "second"]


@pytest.mark.parametrize("name", ["Conv_0", "Conv_2", "MatMul_8", "Gemm_9"])
def test_names_of_onnx_nodes_are_scopes(biased_onnx: Path, name: str) -> None:
    model = to_openvino(load_model(str(biased_onnx), base_directory=Path()), SAMPLE_SIZE)
    everything = {layer.name for layer in find_layers(model).layers}
    (ignored,) = everything - {layer.name for layer in find_layers(model, [name]).layers}
    assert ignored.removesuffix("/WithoutBiases") == name
    assert match_scope(name, everything, "scopes") == [ignored]


def test_a_scaled_residual_with_biases_is_saved(biased_onnx: Path, tmp_path: Path) -> None:
    model = load_model(str(biased_onnx), base_directory=Path())
    result = quantize(model, as_dataset(random_images(4)), SETTINGS)
    assert kinds(result.model).count("Add") == 4 + 1  # MatMul_8 has no bias that could be shifted
    assert result.save(tmp_path / "quantized").is_file()


def tflite_like(data: ov.Node) -> ov.Node:
    """Depthwise weights of half precision, stored as (1, height, width, channels)."""
    values = opset.relu(convolution(data, random_constant(8, 3, 3, 3), "first", pad=1))
    stored = opset.convert(opset.constant(random_constant(1, 3, 3, 8).get_data().astype(np.float16)), "f32")
    reshaped = opset.reshape(stored, opset.constant(np.array([3, 3, 8, 1, 1])), False)
    weights = opset.transpose(reshaped, opset.constant(np.array([2, 3, 4, 0, 1])))
    return convolution(values, weights, "depthwise", pad=1, grouped=True)


def test_weights_behind_conversions_and_layouts_are_constants_of_layers() -> None:
    given = make_model(tflite_like, SAMPLE_SIZE)
    model = to_openvino(given, None)
    assert [layer.name for layer in find_layers(model).layers] == ["first", "depthwise"]
    weights = source(operations_by_name(model)["depthwise"], 1)
    assert (weights.get_type_name(), weights.get_element_type()) == ("Constant", ov.Type.f32)
    image = random_images(1)
    np.testing.assert_array_equal(output(model, image), output(given, image))


class Extended(torch.nn.Module):
    """Appends a column of ones, as many as there are images: no constant of a model for any batch size."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = torch.nn.Linear(3 * 8 * 8 + 1, 4)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        ones = torch.ones(images.shape[0], 1)
        result: torch.Tensor = self.layer(torch.cat([images.flatten(1), ones], dim=1))
        return result


def test_what_depends_on_the_input_stays_so() -> None:
    model = to_openvino(Extended(), SAMPLE_SIZE)
    other = model.clone()
    other.reshape([5, *SAMPLE_SIZE[1:]])
    images = random_images(5)
    one_by_one = np.concatenate([output(model, image[None]) for image in images])
    np.testing.assert_allclose(output(other, images), one_by_one, rtol=1e-5, atol=1e-6)


def normalized(values: torch.Tensor) -> torch.Tensor:
    return torch.nn.functional.normalize(values)


@pytest.mark.parametrize("tail", [normalized, lambda values: values / 0.07], ids=["normalize", "temperature"])
def test_a_division_is_computed_as_the_file_will_do_it(
    tail: Callable[[torch.Tensor], torch.Tensor], tmp_path: Path
) -> None:
    class Network(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.body = small_network()

        def forward(self, images: torch.Tensor) -> torch.Tensor:
            return tail(self.body(images))

    result = quantize(Network().eval(), as_dataset(random_images(8)), SETTINGS)
    assert result.save(tmp_path / "quantized").is_file()


def half_model(element_type: ov.Type) -> ov.Model:
    def constant(*shape: int) -> ov.Node:
        return opset.constant(random_constant(*shape).get_data() * 0.2, dtype=element_type)

    image = opset.parameter(list(SAMPLE_SIZE), element_type, name="image")
    values = opset.relu(convolution(image, constant(8, 3, 3, 3), "first", pad=1))
    steps = opset.range(
        *(opset.constant(value, dtype=element_type) for value in (0, 8, 1)), str(element_type.get_type_name())
    )
    values = opset.convert(opset.convert(opset.add(values, steps), "f32"), element_type)
    return ov.Model([convolution(values, constant(4, 8, 1, 1), "last")], [image], "half")


@pytest.mark.parametrize("element_type", [ov.Type.f16, ov.Type.bf16, ov.Type.f64], ids=str)
def test_other_float_types_are_computed_in_float32(element_type: ov.Type, tmp_path: Path) -> None:
    given = half_model(element_type)
    model, expected = to_openvino(given, None), output(half_model(ov.Type.f32), random_images(1))
    types = {str(value.get_element_type()) for item in model.get_ops() for value in item.outputs()}
    assert types <= {str(ov.Type.f32), str(ov.Type.i64), str(ov.Type.i32)}
    np.testing.assert_allclose(output(model, random_images(1)), expected, rtol=2e-2, atol=2e-2)
    result = quantize(given, as_dataset(random_images(4)), {"runtime": {"threads": 1}})
    assert len(result.layers) == 2
    assert result.save(tmp_path / "quantized").is_file()


@pytest.mark.parametrize("precision", [torch.float16, torch.bfloat16, torch.float64], ids=str)
def test_torch_modules_of_other_precisions_are_converted_in_float32(precision: torch.dtype) -> None:
    module = small_network().to(precision)
    model = to_openvino(module, SAMPLE_SIZE)
    assert next(module.parameters()).dtype == precision
    expected = small_network().to(precision).float()(torch.from_numpy(random_images(1))).detach().numpy()
    np.testing.assert_allclose(output(model, random_images(1)), expected, rtol=1e-5, atol=1e-5)


def test_an_ir_of_half_precision_stays_one_where_layers_stay_float(tmp_path: Path) -> None:
    def build(data: ov.Node) -> ov.Node:
        values = opset.relu(convolution(data, random_constant(8, 3, 3, 3), "first"))
        return convolution(values, random_constant(64, 8, 3, 3), "float")

    ov.save_model(make_model(build, SAMPLE_SIZE), tmp_path / "half.xml", compress_to_fp16=True)
    given = load_model("half.xml", base_directory=tmp_path)
    for algorithm in ("mixed_clipping_quantization", "quantization"):
        settings = {"runtime": {"threads": 1}, "compression": {"algorithm": algorithm, "ignored_scopes": ["float"]}}
        result = quantize(given, as_dataset(random_images(4)), settings)
        file = result.save(tmp_path / algorithm)
        assert 2 * 64 * 8 * 9 < file.with_suffix(".bin").stat().st_size < 3 * 64 * 8 * 9


def dequantized(data: ov.Node) -> ov.Node:
    integers = opset.convert(opset.constant(np.ones((4, 3, 1, 1), dtype=np.int8)), "f32")
    scaled = opset.multiply(opset.subtract(integers, np.float32(1)), np.float32(0.1))
    values = opset.relu(convolution(data, random_constant(3, 3, 1, 1), "float"))
    return convolution(values, scaled, "integer")


def test_a_model_that_is_quantized_already_is_refused() -> None:
    data = as_dataset(random_images(2))
    partly = nncf.quantize(
        make_model(tflite_like, SAMPLE_SIZE), data, subset_size=2, ignored_scope=nncf.IgnoredScope(names=["depthwise"])
    )
    with pytest.raises(
        QuantizationError, match=r"^image/fq_output_0: the model is quantized already \(a FakeQuantize\)"
    ):
        to_openvino(partly, None)
    with pytest.raises(
        QuantizationError, match=r"^integer: the model is quantized already \(i8 weights\): give the float"
    ):
        quantize(make_model(dequantized, SAMPLE_SIZE), data)


def test_a_bytes_image_with_its_preprocessing_stays_one(tmp_path: Path) -> None:
    inner = ov.convert_model(small_network(), example_input=torch.zeros(SAMPLE_SIZE))
    inner.reshape(list(SAMPLE_SIZE))
    steps = PrePostProcessor(inner)
    steps.input().tensor().set_element_type(ov.Type.u8).set_layout(ov.Layout("NHWC"))
    steps.input().preprocess().convert_element_type(ov.Type.f32).mean([123.0, 117.0, 104.0]).scale(58.0)
    steps.input().model().set_layout(ov.Layout("NCHW"))
    given = steps.build()
    images = [np.random.default_rng(seed).integers(0, 256, (1, 8, 8, 3), dtype=np.uint8) for seed in range(6)]
    result = quantize(given, nncf.Dataset(images), {"runtime": {"threads": 1}})
    restored = ov.Core().read_model(result.save(tmp_path / "quantized"))
    assert (restored.input(0).get_element_type(), list(restored.input(0).shape)) == (ov.Type.u8, [1, 8, 8, 3])
    np.testing.assert_allclose(output(restored, images[0]), output(given, images[0]), atol=0.5)


@pytest.mark.parametrize("batch", [1, "batch"])
def test_an_exported_program_is_a_model(batch: int | str, tmp_path: Path) -> None:
    dynamic = None if batch == 1 else ({0: torch.export.Dim("batch")},)
    example = torch.zeros(1 if batch == 1 else 2, *SAMPLE_SIZE[1:])
    program = torch.export.export(small_network(), (example,), dynamic_shapes=dynamic)
    torch.export.save(program, tmp_path / "network.pt2")
    images = random_images(4)
    expected = small_network()(torch.from_numpy(images[:1])).detach().numpy()
    for given in (program, load_model("network.pt2", base_directory=tmp_path)):
        model = to_openvino(given, None)
        assert list(model.input(0).shape) == list(SAMPLE_SIZE)
        np.testing.assert_allclose(output(model, images[:1]), expected, rtol=1e-5, atol=1e-5)
    result = quantize(program, as_dataset(images), {"runtime": {"threads": 1}})
    assert len(result.layers) == 4
    assert result.save(tmp_path / "quantized").is_file()


def test_the_normal_form_of_a_normal_form_is_the_same() -> None:
    once = to_openvino(small_network(), SAMPLE_SIZE)
    twice = to_openvino(once, None)
    described = [
        [(item.get_type_name(), item.get_friendly_name()) for item in model.get_ordered_ops()]
        for model in (once, twice)
    ]
    assert described[0] == described[1]
    image = random_images(1)
    np.testing.assert_array_equal(output(once, image), output(twice, image))


def test_the_model_in_memory_is_the_model_of_its_file(tmp_path: Path) -> None:
    model = to_openvino(small_network(), SAMPLE_SIZE)
    ov.save_model(model, tmp_path / "model.xml", compress_to_fp16=False)
    restored = ov.Core().read_model(tmp_path / "model.xml")
    ov.save_model(restored, tmp_path / "again.xml", compress_to_fp16=False)
    assert (tmp_path / "again.bin").read_bytes() == (tmp_path / "model.bin").read_bytes()
    image = random_images(1)
    np.testing.assert_array_equal(output(restored, image), output(model, image))


def test_a_model_is_not_edited() -> None:
    given = make_model(tflite_like, SAMPLE_SIZE)
    before = [(item.get_type_name(), item.get_friendly_name()) for item in given.get_ordered_ops()]
    to_openvino(given, None)
    assert [(item.get_type_name(), item.get_friendly_name()) for item in given.get_ordered_ops()] == before


def test_a_shape_that_does_not_fit_is_named() -> None:
    with pytest.raises(
        ConfigError, match=r"input_info.sample_size: found \[1, 5, 8, 8\], allowed: a shape that the model"
    ):
        to_openvino(make_model(tflite_like, SAMPLE_SIZE), [1, 5, 8, 8])
