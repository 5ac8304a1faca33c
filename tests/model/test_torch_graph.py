from __future__ import annotations

import functools
import weakref
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import openvino as ov
import pytest
import torch
import torchvision
from openvino import opset4, opset8, opset10, opset14
from openvino import opset13 as opset

from nncf_mcq.errors import QuantizationError
from nncf_mcq.model.inference import compile_model
from nncf_mcq.model.loading import to_openvino
from nncf_mcq.model.torch_graph import TorchGraph
from tests.models import (
    concat_model,
    convolution,
    convolution_model,
    make_model,
    matmul_model,
    operation_types,
    random_constant,
    random_images,
    shared_weights_model,
    small_network,
    weights_of,
)

NETWORKS = ("resnet18", "mobilenet_v3_small", "shufflenet_v2_x0_5")


@functools.cache
def small_model() -> ov.Model:
    return to_openvino(small_network(), (1, 3, 8, 8))


@functools.cache
def torchvision_model(name: str) -> tuple[ov.Model, TorchGraph]:
    torch.manual_seed(0)
    model = to_openvino(getattr(torchvision.models, name)(weights=None), (1, 3, 64, 64))
    return model, TorchGraph(model)


def integers(*values: int) -> ov.Node:
    return opset.constant(np.array(values, np.int64))


def scalar(value: float) -> ov.Node:
    return opset.constant(np.float32(value))


def weighted_names(model: ov.Model) -> list[str]:
    return [name for name, kind in operation_types(model) if kind in ("Convolution", "GroupConvolution", "MatMul")]


def assert_same(model: ov.Model, graph: TorchGraph | None = None) -> None:
    """Equal to OpenVINO for the model's own batch, and image by image for a batch of three times its size."""
    assert_equals(graph or TorchGraph(model), *expected_outputs(model))


def assert_all_same(
    builds: Mapping[str, Callable[[ov.Node], ov.Node]], shape: Sequence[int], *, positive: bool = False
) -> None:
    """As `assert_same` for many models of the same input; OpenVINO compiles them as one, as each takes its time."""
    parameter = opset.parameter(list(shape), ov.Type.f32)
    model = ov.Model([build(parameter) for build in builds.values()], [parameter], "model")
    images, *expected = expected_outputs(model, positive=positive)
    assert len(expected) == len(builds)
    for (name, build), values in zip(builds.items(), expected, strict=True):
        assert_equals(TorchGraph(make_model(build, shape)), images, values, message=name)


def expected_outputs(model: ov.Model, *, positive: bool = False) -> list[np.ndarray]:
    """Three times as many images as the model's batch, and OpenVINO's outputs for them."""
    shape = list(model.input(0).get_shape())
    images = random_images(3 * shape[0], shape)
    if positive:
        images = np.abs(images) + np.float32(0.1)
    compiled = compile_model(model, threads=1)
    batches = [[np.array(value) for value in compiled([batch]).values()] for batch in np.split(images, 3)]
    return [images, *(np.concatenate(values) for values in zip(*batches, strict=True))]


def assert_equals(graph: TorchGraph, images: np.ndarray, expected: np.ndarray, *, message: str = "") -> None:
    tolerance = 1e-4 * np.abs(expected).max()
    with torch.no_grad():
        whole = graph(torch.from_numpy(images)).numpy()
        alone = np.concatenate([graph(torch.from_numpy(batch)).numpy() for batch in np.split(images, 3)])
    for found in (alone, whole):
        assert found.shape == expected.shape, message
        np.testing.assert_allclose(found, expected, rtol=1e-4, atol=tolerance, err_msg=message)


@pytest.mark.parametrize("name", NETWORKS)
def test_equals_openvino_on_torchvision_networks(name: str) -> None:
    model, graph = torchvision_model(name)
    assert_same(model, graph)


@pytest.mark.parametrize("build", [small_model, shared_weights_model, concat_model])
def test_equals_openvino_on_small_networks(build: Callable[[], ov.Model]) -> None:
    model = build()
    before = weights_of(model)
    assert_same(model)
    assert weights_of(model) == before


def test_reads_compressed_ir(tmp_path: Path) -> None:
    model, _ = torchvision_model("shufflenet_v2_x0_5")
    ov.save_model(model, tmp_path / "model.xml", compress_to_fp16=True)
    assert_same(ov.Core().read_model(tmp_path / "model.xml"))


def test_folds_decompression_of_integer_weights() -> None:
    def build(data: ov.Node) -> ov.Node:
        stored = opset.constant(np.arange(36, dtype=np.uint8).reshape(4, 1, 3, 3))
        centred = opset.subtract(opset.convert(stored, "f32"), scalar(18))
        weights = opset.multiply(centred, random_constant(4, 1, 1, 1))
        return convolution(data, weights, "layer", pad=1)

    model = make_model(build, (1, 1, 6, 6))
    assert_same(model)
    assert TorchGraph(model).weight("layer").dtype == torch.float32


CONVOLUTIONS: list[tuple[Sequence[int], dict[str, Any]]] = [
    ((6, 4, 3, 3), {"stride": 2, "pad": 1}),
    ((6, 4, 3, 3), {"dilation": 2, "pad": 2}),
    ((6, 4, 3, 2), {"stride": 2, "auto_pad": "same_upper"}),
    ((6, 4, 2, 3), {"stride": 2, "auto_pad": "same_lower"}),
    ((6, 4, 3, 3), {"dilation": 2, "auto_pad": "same_lower"}),
    ((6, 4, 3, 3), {"pad": 1, "auto_pad": "valid"}),
    ((4, 1, 1, 3, 3), {"grouped": True, "pad": 1}),
    ((2, 3, 2, 3, 3), {"grouped": True, "stride": 2, "auto_pad": "same_upper"}),
]
ONE_DIMENSIONAL: list[tuple[Sequence[int], dict[str, Any]]] = [
    ((6, 4, 3), {"stride": 2, "pad": 1}),
    ((6, 4, 4), {"auto_pad": "same_upper"}),
    ((2, 3, 2, 3), {"grouped": True, "pad": 1}),
]


@pytest.mark.parametrize(("shape", "cases"), [((1, 4, 9, 8), CONVOLUTIONS), ((1, 4, 10), ONE_DIMENSIONAL)])
def test_convolutions(shape: Sequence[int], cases: list[tuple[Sequence[int], dict[str, Any]]]) -> None:
    builds = {
        f"{weights} {options}": lambda data, weights=weights, options=options: convolution(
            data, random_constant(*weights), "layer", **options
        )
        for weights, options in cases
    }
    assert_all_same(builds, shape)


def test_asymmetric_pads() -> None:
    weights = random_constant(5, 4, 3, 3)
    assert_same(make_model(lambda data: opset.convolution(data, weights, [2, 1], [0, 2], [1, 0], [1, 1]), (1, 4, 8, 9)))


@pytest.mark.parametrize(
    ("shape", "weights", "transpose_a", "transpose_b"),
    [
        ((1, 6), (6, 5), False, False),
        ((1, 6), (5, 6), False, True),
        ((1, 4, 6), (6, 5), False, False),
        ((1, 6, 4), (6, 5), True, False),
        ((1, 6, 4), (5, 6), True, True),
        ((1, 3, 6, 4), (3, 5, 6), True, True),
    ],
)
def test_matmul(shape: Sequence[int], weights: Sequence[int], transpose_a: bool, transpose_b: bool) -> None:
    assert_same(matmul_model(shape, weights, transpose_a=transpose_a, transpose_b=transpose_b))


def test_matmul_of_two_values_is_not_weighted() -> None:
    model = make_model(lambda data: opset.matmul(data, data, False, True, name="layer"), (1, 3, 4, 4))
    assert_same(model)
    with pytest.raises(QuantizationError, match="layer"):
        TorchGraph(model).weight("layer")


POOLS = [
    ([2, 2], [0, 0], [0, 0], [2, 2], "floor", "explicit"),
    ([2, 2], [1, 1], [1, 1], [3, 3], "floor", "explicit"),
    ([2, 2], [0, 0], [0, 0], [3, 3], "ceil", "explicit"),
    ([2, 2], [1, 0], [0, 1], [3, 3], "ceil", "explicit"),
    ([3, 3], [0, 1], [0, 1], [3, 3], "ceil", "explicit"),
    ([2, 2], [0, 0], [0, 0], [3, 3], "floor", "same_upper"),
    ([2, 2], [0, 0], [0, 0], [2, 3], "floor", "same_lower"),
    ([2, 2], [0, 0], [0, 0], [3, 3], "floor", "valid"),
]
WINDOW_IN_PADDING = ([3, 2], [1, 1], [1, 1], [3, 2], "ceil", "explicit")


@pytest.mark.parametrize(
    ("function", "more"), [(opset.max_pool, ([1, 1],)), (opset4.max_pool, ()), (opset14.max_pool, ([1, 1],))]
)
def test_max_pool(function: Callable[..., ov.Node], more: tuple[object, ...]) -> None:
    builds = {
        str(pool): lambda data, pool=pool: function(data, pool[0], *more, *pool[1:]).output(0)
        for pool in (*POOLS, WINDOW_IN_PADDING)
    }
    assert_all_same(builds, (1, 3, 8, 9))


def test_dilated_max_pool() -> None:
    builds = {
        rounding: lambda data, rounding=rounding: opset14.max_pool(
            data, [2, 2], [2, 1], [1, 1], [1, 1], [3, 3], rounding
        ).output(0)
        for rounding in ("floor", "ceil", "ceil_torch")
    }
    assert_all_same(builds, (1, 3, 8, 9))


@pytest.mark.parametrize("exclude_pad", [True, False])
def test_average_pool(exclude_pad: bool) -> None:
    builds = {}
    for pool in POOLS:
        strides, begin, end, kernel, rounding, mode = pool
        arguments = (strides, begin, end, kernel, exclude_pad)
        builds[str(pool)] = lambda data, rest=(*arguments, rounding, mode): opset.avg_pool(data, *rest)
        if rounding == "ceil":
            builds[f"{pool} ceil_torch"] = lambda data, rest=(*arguments, "ceil_torch", mode): opset14.avg_pool(
                data, *rest
            )
    assert_all_same(builds, (1, 3, 8, 9))


def test_one_dimensional_pools() -> None:
    assert_same(make_model(lambda data: opset.avg_pool(data, [2], [1], [0], [3], True, "ceil"), (1, 3, 9)))
    assert_same(make_model(lambda data: opset8.max_pool(data, [2], [1], [1], [0], [3], "ceil").output(0), (1, 3, 9)))


COORDINATES = ("half_pixel", "pytorch_half_pixel", "asymmetric", "tf_half_pixel_for_nn", "align_corners")


@pytest.mark.parametrize("kind", ["round_prefer_floor", "round_prefer_ceil", "floor", "ceil", "simple", "linear_onnx"])
def test_interpolate(kind: str) -> None:
    options = {"mode": "nearest", "nearest_mode": kind}
    if kind == "linear_onnx":
        options = {"mode": kind}
    builds = {
        f"{mode} {size}": lambda data, mode=mode, size=size: opset.interpolate(
            data,
            integers(*size),
            **options,
            shape_calculation_mode="sizes",
            coordinate_transformation_mode=mode,
            axes=integers(2, 3),
        )
        for mode in COORDINATES
        for size in ((8, 15), (3, 1))
    }
    assert_all_same(builds, (1, 2, 4, 5))


@pytest.mark.parametrize("kind", ["nearest", "linear_onnx"])
def test_interpolate_by_scales(kind: str) -> None:
    scales = opset.constant(np.array([2, 1.7], np.float32))
    assert_same(
        make_model(lambda data: opset.interpolate(data, scales, kind, "scales", axes=integers(2, 3)), (1, 2, 4, 5))
    )
    sizes, axes = integers(8, 8), integers(2, 3)  # only the shapes' calculation reads the sizes
    assert_same(
        make_model(lambda data: opset10.interpolate(data, sizes, scales, kind, "scales", axes=axes), (1, 2, 4, 5))
    )
    assert_same(
        make_model(lambda data: opset10.interpolate(data, sizes, scales, kind, "sizes", axes=axes), (1, 2, 4, 5))
    )


SHAPE = (1, 4, 6, 5)
ELEMENTWISE: dict[str, Callable[[ov.Node], ov.Node]] = {
    "abs": opset.abs,
    "add": lambda data: opset.add(data, random_constant(4, 1, 1)),
    "subtract": lambda data: opset.subtract(random_constant(1, 4, 1, 5), data),
    "multiply": lambda data: opset.multiply(data, data),
    "divide": lambda data: opset.divide(scalar(1), data),
    "maximum": lambda data: opset.maximum(data, random_constant(1, 1, 1, 5)),
    "minimum": lambda data: opset.minimum(data, scalar(0.7)),
    "power": lambda data: opset.power(data, scalar(1.5)),
    "sqrt": opset.sqrt,
    "exp": opset.exp,
    "negative": opset.negative,
    "softplus": opset.softplus,
    "convert": lambda data: opset.convert(opset.convert(data, "f64"), "f32"),
    "batch_norm": lambda data: opset.batch_norm_inference(
        data,
        random_constant(4),
        random_constant(4, seed=1),
        random_constant(4, seed=2),
        opset.exp(random_constant(4)),
        1e-3,
    ),
}
SIGNED: dict[str, Callable[[ov.Node], ov.Node]] = {
    "relu": opset.relu,
    "prelu": lambda data: opset.prelu(data, random_constant(4)),
    "prelu_broadcast": lambda data: opset.prelu(data, random_constant(1, 4, 1, 1)),
    "leaky_relu": lambda data: opset.prelu(data, opset.constant(np.array([0.1], np.float32))),
    "clamp": lambda data: opset.clamp(data, -0.5, 0.6),
    "sigmoid": opset.sigmoid,
    "tanh": opset.tanh,
    "swish": opset.swish,
    "swish_beta": lambda data: opset.swish(data, scalar(1.7)),
    "hswish": lambda data: opset.hswish(opset.multiply(data, scalar(3))),
    "hsigmoid": lambda data: opset.hsigmoid(opset.multiply(data, scalar(3))),
    "mish": opset.mish,
    "elu": lambda data: opset.elu(data, 0.7),
    "gelu": lambda data: opset.gelu(data, "erf"),
    "gelu_tanh": lambda data: opset.gelu(data, "tanh"),
    "softmax": lambda data: opset.softmax(data, 1),
    "softmax_last": lambda data: opset8.softmax(data, -1),
    "reduce_mean": lambda data: opset.reduce_mean(data, integers(2, 3), True),
    "reduce_sum": lambda data: opset.reduce_sum(data, integers(-1), False),
    "reduce_max": lambda data: opset.reduce_max(data, integers(1, 2), False),
    "reshape": lambda data: opset.reshape(data, integers(1, 2, 2, 30), False),
    "reshape_special_zero": lambda data: opset.reshape(data, integers(0, 0, -1), True),
    "reshape_infer": lambda data: opset.reshape(data, integers(1, -1), False),
    "squeeze": lambda data: opset.squeeze(opset.reduce_mean(data, integers(2, 3), True), integers(2, 3)),
    "unsqueeze": lambda data: opset.unsqueeze(data, integers(1)),
    "transpose": lambda data: opset.transpose(data, integers(0, 2, 3, 1)),
    "concat": lambda data: opset.concat([data, opset.relu(data)], -1),
    "split": lambda data: opset.subtract(*opset.split(data, opset.constant(1), 2).outputs()),
    "variadic_split": lambda data: opset.concat(
        list(reversed(opset.variadic_split(data, opset.constant(-2), integers(2, -1)).outputs())), 2
    ),
    "strided_slice": lambda data: opset.strided_slice(
        data, integers(0, 1, 0, -3), integers(1, 0, 3, 100), integers(1, 1, 2, 1), [0, 0, 1, 0], [0, 1, 0, 0]
    ),
    "strided_slice_shrink": lambda data: opset.strided_slice(
        data, integers(0, 1), integers(0, 2), integers(1, 1), [1, 0], [1, 0], shrink_axis_mask=[0, 1]
    ),
    "slice": lambda data: opset.slice(data, integers(0, -3), integers(3, 100), integers(2, 1), integers(1, -1)),
    "slice_all_axes": lambda data: opset.slice(data, integers(0, 1), integers(1, 100), integers(1, 1)),
    "pad": lambda data: opset.pad(data, integers(0, 0, 1, 2), integers(0, 1, 0, 3), "constant", scalar(0.3)),
    "pad_zeros": lambda data: opset.pad(data, integers(0, 0, 1, -1), integers(0, 1, 0, 0), "constant"),
    "shape_of": lambda data: opset.reshape(
        data, opset.concat([opset.gather(opset.shape_of(data), integers(0), opset.constant(0)), integers(-1)], 0), False
    ),
}


def test_operations_of_positive_values() -> None:
    assert_all_same(ELEMENTWISE, SHAPE, positive=True)


def test_operations() -> None:
    assert_all_same(SIGNED, SHAPE)


def test_a_models_own_batch_may_be_any() -> None:
    model = make_model(lambda data: opset.reshape(data, integers(4, 24), False), (4, 2, 3, 4))
    assert_same(model)
    images = random_images(3, (4, 2, 3, 4))
    np.testing.assert_array_equal(TorchGraph(model)(torch.from_numpy(images)).numpy(), images.reshape(3, 24))


@pytest.mark.parametrize(
    "build",
    [
        lambda data: opset.reshape(data, integers(4, 30), False, name="mixes"),
        lambda data: opset.squeeze(data, integers(0), name="mixes"),
        lambda data: opset.reduce_sum(data, integers(0), True, name="mixes"),
        lambda data: opset.transpose(data, integers(1, 0, 2, 3), name="mixes"),
        lambda data: opset.concat([data, data], 0, name="mixes"),
    ],
)
def test_operations_across_images_run_with_the_models_own_batch_only(build: Callable[[ov.Node], ov.Node]) -> None:
    model = make_model(build, SHAPE)
    graph = TorchGraph(model)
    image = random_images(1, SHAPE)
    expected = np.array(compile_model(model, threads=1)([image])[0])
    np.testing.assert_allclose(graph(torch.from_numpy(image)).numpy(), expected, rtol=1e-6)
    with pytest.raises(QuantizationError, match="mixes"):
        graph(torch.zeros(2, *SHAPE[1:]))


def test_gradients_of_weights_equal_finite_differences() -> None:
    graph = TorchGraph(small_model()).double()
    images = torch.from_numpy(random_images(4)).double()
    names = weighted_names(small_model())
    weights = tuple(graph.weight(name).clone().requires_grad_() for name in names)

    def loss(*values: torch.Tensor) -> torch.Tensor:
        return graph(images, weights=dict(zip(names, values, strict=True))).logsumexp(1).sum()

    assert {len(weight.shape) for weight in weights} == {2, 4, 5}
    assert torch.autograd.gradcheck(loss, weights, fast_mode=True)


def test_second_derivatives_exist() -> None:
    graph = TorchGraph(small_model())
    name = weighted_names(small_model())[0]
    weight = graph.weight(name).clone().requires_grad_()
    loss = graph(torch.from_numpy(random_images(2)), weights={name: weight}).square().sum()
    (gradient,) = torch.autograd.grad(loss, weight, create_graph=True)
    (product,) = torch.autograd.grad((gradient * torch.ones_like(gradient)).sum(), weight)
    assert product.abs().max() > 0


def test_replaced_weights_change_the_output_and_only_where_named() -> None:
    model = shared_weights_model()
    graph = TorchGraph(model)
    images = torch.from_numpy(random_images(2, (1, 4, 6, 6)))
    before = graph(images)
    replaced = graph(images, weights={"second": 2 * graph.weight("second")})
    # A ReLU follows, then a convolution without bias: doubled weights of one layer double the output.
    torch.testing.assert_close(replaced, 2 * before)
    torch.testing.assert_close(graph(images), before)


@pytest.mark.parametrize("name", ["shufflenet_v2_x0_5", "mobilenet_v3_small"])
def test_observes_every_weighted_operation_once(name: str) -> None:
    model, graph = torchvision_model(name)
    observed: list[str] = []

    def observe(name: str, value: torch.Tensor) -> torch.Tensor:
        observed.append(name)
        return value

    graph(torch.zeros(1, 3, 64, 64), observe=observe)
    assert sorted(observed) == sorted(weighted_names(model))


def test_uses_what_the_observer_returns() -> None:
    graph = TorchGraph(concat_model())
    images = torch.from_numpy(random_images(2))
    kept: dict[str, torch.Tensor] = {}

    def observe(name: str, value: torch.Tensor) -> torch.Tensor:
        value = value * 0 if name != "last" else value
        kept[name] = value.detach().requires_grad_()
        return kept[name]

    output = graph(images, observe=observe)
    assert output is kept["last"] and not output.any()
    left = torch.ones_like(kept["left"], requires_grad=True)
    graph(images, observe=lambda name, value: left if name == "left" else value).sum().backward()
    assert left.grad is not None and left.grad.any()


def test_observer_may_stop_the_run() -> None:
    def observe(name: str, value: torch.Tensor) -> torch.Tensor:
        raise StopIteration(name)

    with pytest.raises(StopIteration, match=r"left|right"):
        TorchGraph(concat_model())(torch.zeros(1, 3, 8, 8), observe=observe)


def test_values_are_dropped_after_their_last_use() -> None:
    graph = TorchGraph(shared_weights_model())
    alive: list[weakref.ref[torch.Tensor]] = []

    def observe(name: str, value: torch.Tensor) -> torch.Tensor:
        assert sum(reference() is not None for reference in alive) == 0
        value = value.clone()
        alive.append(weakref.ref(value))
        return value

    with torch.no_grad():
        graph(torch.zeros(1, 4, 6, 6), observe=observe)
    assert len(alive) == 3


def test_returns_the_first_of_several_outputs() -> None:
    parameter = opset.parameter([1, 3], ov.Type.f32)
    first, second = opset.relu(parameter), opset.negative(parameter)
    graph = TorchGraph(ov.Model([second, first], [parameter], "model"))
    assert graph(torch.tensor([[1.0, -2.0, 3.0]])).tolist() == [[-1.0, 2.0, -3.0]]


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (
            lambda data: opset.topk(data, opset.constant(2), 1, "max", "value", name="best").output(0),
            "best.*TopK.*Relu",
        ),
        (lambda data: opset.cum_sum(data, opset.constant(1), name="sums"), "sums.*CumSum"),
        (lambda data: opset.softmax(data, 0, name="across"), "across.*axis.*0.*allowed"),
        (
            lambda data: opset.pad(data, integers(0, 0, 1, 1), integers(0, 0, 1, 1), "reflect", name="mirror"),
            "mirror.*'reflect'.*constant",
        ),
        (
            lambda data: opset.interpolate(data, integers(8, 8), "cubic", "sizes", axes=integers(2, 3), name="larger"),
            "larger.*'cubic'.*nearest",
        ),
        (
            lambda data: opset.slice(data, integers(5), integers(0), integers(-1), integers(2), name="reversed"),
            "reversed.*step.*-1",
        ),
        (lambda data: opset.convert(data, "i32", name="whole"), "whole.*i(nt)?32.*float"),
        (
            lambda data: opset.max_pool(data, [1, 1], [1, 1], [0, 0], [0, 0], [2, 2], name="where").output(1),
            "where.*output 1",
        ),
    ],
)
def test_names_what_is_not_supported(build: Callable[[ov.Node], ov.Node], message: str) -> None:
    with pytest.raises(QuantizationError, match=message):
        TorchGraph(make_model(build, SHAPE))


def test_refuses_unusable_models() -> None:
    with pytest.raises(QuantizationError, match="dynamic"):
        TorchGraph(make_model(opset.relu, (-1, 3)))
    with pytest.raises(QuantizationError, match="scalar"):
        TorchGraph(make_model(opset.relu, ()))


def test_several_inputs_are_taken_in_their_order() -> None:
    parameters = [opset.parameter(shape, ov.Type.f32) for shape in ([1, 3], [1, 1])]
    graph = TorchGraph(ov.Model([opset.subtract(*parameters)], parameters, "model"))
    first, second = torch.randn(4, 3), torch.randn(4, 1)
    assert torch.equal(graph([first, second]), first - second)
    with pytest.raises(QuantizationError, match="inputs: found 1, allowed: 2"):
        graph(first)
    with pytest.raises(QuantizationError, match=r"inputs: found shape \(3, 1\), allowed: \('N', 1\)"):
        graph([first, second[:3]])


def test_refuses_wrong_tensors() -> None:
    graph = TorchGraph(convolution_model((1, 3, 8, 8), (4, 3, 3, 3)))
    with pytest.raises(QuantizationError, match=r"inputs.*\(1, 3, 9, 8\).*\('N', 3, 8, 8\)"):
        graph(torch.zeros(1, 3, 9, 8))
    images = torch.zeros(1, 3, 8, 8)
    with pytest.raises(QuantizationError, match=r"'other'.*layer"):
        graph(images, weights={"other": torch.zeros(4, 3, 3, 3)})
    with pytest.raises(QuantizationError, match=r"layer.*\(4, 3, 1, 1\).*\(4, 3, 3, 3\)"):
        graph(images, weights={"layer": torch.zeros(4, 3, 1, 1)})
