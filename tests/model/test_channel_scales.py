"""Values whose channels layers on both sides can scale, and the model in which they do."""

from collections.abc import Callable, Mapping

import numpy as np
import openvino as ov
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from openvino import opset13 as opset

from nncf_mcq.model.channel_groups import ChannelGroup, find_channel_groups
from nncf_mcq.model.channel_scales import channel_steps, factors_of, round_factors, scale_channels
from nncf_mcq.model.input_scales import layers_of_own_input
from nncf_mcq.model.layers import QuantizableModel, find_layers
from nncf_mcq.model.nodes import operations_by_name

Forward = Callable[[torch.nn.ModuleDict, torch.Tensor], torch.Tensor]


def make(layers: Mapping[str, torch.nn.Module], forward: Forward, size: int = 8) -> QuantizableModel:
    """The layers of a network, named as its modules are."""

    class Network(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layers = torch.nn.ModuleDict(dict(layers))

        def forward(self, image: torch.Tensor) -> torch.Tensor:
            return forward(self.layers, image)

    example = torch.zeros(1, 3, size, size)
    model = ov.convert_model(Network().eval(), input=[*example.shape], example_input=example)
    for operation in model.get_ordered_ops():
        if "Convolution" in operation.get_type_name() or operation.get_type_name() == "MatMul":
            name = operation.get_friendly_name().split("/")[0].removeprefix("__module.layers.")
            operation.set_friendly_name(name if name not in operations_by_name(model) else f"{name} again")
    return find_layers(model)


def convolution(inputs: int, outputs: int, size: int = 1, groups: int = 1) -> torch.nn.Conv2d:
    return torch.nn.Conv2d(inputs, outputs, size, padding=size // 2, groups=groups)


def residual_network() -> QuantizableModel:
    """Streams through residual sums, a strided branch, a pool and a fully connected layer."""

    def forward(m: torch.nn.ModuleDict, image: torch.Tensor) -> torch.Tensor:
        stream = torch.max_pool2d(torch.relu(m["stem"](image)), 2)
        stream = torch.relu(stream + m["b"](torch.relu(m["a"](stream))))
        stream = torch.relu(m["short"](stream) + m["d"](torch.nn.functional.leaky_relu(m["c"](stream), 0.1)))
        result: torch.Tensor = m["head"](stream.mean((2, 3)))
        return result

    torch.manual_seed(0)
    return make(
        {
            "stem": convolution(3, 8, 3),
            "a": convolution(8, 6, 3),
            "b": convolution(6, 8),
            "short": convolution(8, 12),
            "c": convolution(8, 5),
            "d": convolution(5, 12, 3),
            "head": torch.nn.Linear(12, 10),
        },
        forward,
    )


def run(model: ov.Model, image: np.ndarray) -> np.ndarray:
    compiled = ov.Core().compile_model(model, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    return np.array(compiled(image)[0])


def random_steps(groups: list[ChannelGroup], seed: int = 0, unit: int = 1) -> dict[str, np.ndarray]:
    random = np.random.default_rng(seed)
    return {group.name: (unit * random.integers(0, 100 // unit, group.channels)).astype(np.uint8) for group in groups}


def test_residual_stream_is_one_group_with_all_its_branches() -> None:
    groups = find_channel_groups(residual_network())

    assert [(group.channels, group.producers, group.readers) for group in groups] == [
        (8, ("stem", "b"), ("a", "short", "c")),
        (6, ("a",), ("b",)),
        (12, ("short", "d"), ("head",)),
        (5, ("c",), ("d",)),
    ]
    assert [len(group.terms) for group in groups] == [2, 1, 2, 1]


def test_scaled_model_computes_the_same_exactly_with_powers_of_two() -> None:
    quantizable = residual_network()
    groups = find_channel_groups(quantizable)
    image = np.random.default_rng(0).standard_normal((1, 3, 8, 8), dtype=np.float32)

    scaled = scale_channels(quantizable, groups, random_steps(groups, unit=16))

    np.testing.assert_array_equal(run(scaled.model, image), run(quantizable.model, image))
    before, after = (operations_by_name(item.model) for item in (quantizable, scaled))
    assert list(before) == list(after)
    for layer in quantizable.layers:
        assert not np.array_equal(
            before[layer.name].input_value(1).node.data, after[layer.name].input_value(1).node.data
        )
    assert find_layers(scaled.model).layers == quantizable.layers


@settings(deadline=None, max_examples=10)
@given(st.integers(0, 2**32 - 1))
def test_scaled_model_computes_the_same(seed: int) -> None:
    quantizable = residual_network()
    groups = find_channel_groups(quantizable)
    image = np.random.default_rng(seed).standard_normal((1, 3, 8, 8), dtype=np.float32)

    scaled = scale_channels(quantizable, groups, random_steps(groups, seed))

    np.testing.assert_allclose(run(scaled.model, image), run(quantizable.model, image), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    "between",
    [
        pytest.param(torch.nn.functional.relu6, id="clamp"),
        pytest.param(torch.sigmoid, id="sigmoid"),
        pytest.param(lambda value: torch.cat([value, value], 1)[:, 3:9], id="other channels"),
        pytest.param(lambda value: value.flip(1), id="other order"),
        pytest.param(lambda value: value * torch.sigmoid(value), id="product"),
        pytest.param(lambda value: value + value.mean(1, keepdim=True), id="mean over channels"),
        pytest.param(lambda value: value.transpose(1, 2)[:, :6], id="transposed"),
        pytest.param(lambda value: torch.nn.functional.pixel_shuffle(torch.cat([value] * 4, 1), 2), id="shuffled"),
    ],
)
def test_what_is_not_homogeneous_by_channel_keeps_its_unit(between: Callable[[torch.Tensor], torch.Tensor]) -> None:
    layers = {"first": convolution(3, 6), "second": convolution(6, 4)}
    quantizable = make(layers, lambda m, image: m["second"](between(m["first"](image))))

    assert not find_channel_groups(quantizable)


@pytest.mark.parametrize(
    "between",
    [
        pytest.param(lambda value: value, id="nothing"),
        pytest.param(torch.relu, id="relu"),
        pytest.param(lambda value: torch.nn.functional.prelu(value, torch.arange(6) / 5), id="prelu"),
        pytest.param(lambda value: torch.nn.functional.avg_pool2d(value, 2), id="average"),
        pytest.param(lambda value: torch.nn.functional.interpolate(value, scale_factor=2.0), id="resized"),
        pytest.param(lambda value: 3 * torch.relu(value) - torch.arange(6).reshape(1, 6, 1, 1), id="affine"),
        pytest.param(lambda value: torch.relu(value) + torch.max_pool2d(value, 3, 1, 1), id="sum"),
        pytest.param(lambda value: value.mean((2, 3), keepdim=True), id="mean"),
    ],
)
def test_what_is_homogeneous_by_channel_passes(between: Callable[[torch.Tensor], torch.Tensor]) -> None:
    torch.manual_seed(1)
    layers = {"first": convolution(3, 6), "second": convolution(6, 4)}
    quantizable = make(layers, lambda m, image: m["second"](between(m["first"](image))))
    groups = find_channel_groups(quantizable)
    image = np.random.default_rng(0).standard_normal((1, 3, 8, 8), dtype=np.float32)

    scaled = scale_channels(quantizable, groups, random_steps(groups, unit=16))

    assert [(group.producers, group.readers) for group in groups] == [(("first",), ("second",))]
    np.testing.assert_array_equal(run(scaled.model, image), run(quantizable.model, image))


def test_layers_of_several_groups_only_end_a_group() -> None:
    """A depthwise or grouped convolution makes values that can be scaled, and does not read any."""
    layers = {
        "first": convolution(3, 6),
        "depthwise": convolution(6, 12, 3, groups=6),
        "second": convolution(12, 4),
        "grouped": convolution(4, 4, 3, groups=2),
        "third": convolution(4, 4),
        "up": torch.nn.ConvTranspose2d(4, 6, 2, 2),
        "last": convolution(6, 4),
    }

    def forward(m: torch.nn.ModuleDict, image: torch.Tensor) -> torch.Tensor:
        for layer in m.values():
            image = torch.relu(layer(image))
        return image

    quantizable = make(layers, forward)
    groups = find_channel_groups(quantizable)
    image = np.random.default_rng(0).standard_normal((1, 3, 8, 8), dtype=np.float32)

    scaled = scale_channels(quantizable, groups, random_steps(groups, unit=16))

    assert [(group.producers, group.readers) for group in groups] == [
        (("depthwise",), ("second",)),
        (("grouped",), ("third",)),
        (("up",), ("last",)),
    ]
    np.testing.assert_array_equal(run(scaled.model, image), run(quantizable.model, image))


def test_outputs_of_the_model_and_shared_weights_keep_their_unit() -> None:
    layers = {"first": convolution(3, 6), "twice": convolution(6, 6), "last": convolution(6, 4)}

    def forward(m: torch.nn.ModuleDict, image: torch.Tensor) -> torch.Tensor:
        value = torch.relu(m["twice"](torch.relu(m["first"](image))))
        return torch.cat([m["last"](m["twice"](torch.max_pool2d(value, 2))), value[:, :, :4, :4]], 1)

    quantizable = make(layers, forward)

    assert [layer.group for layer in quantizable.layers] == ["first", "twice", "twice", "last"]
    assert not find_channel_groups(quantizable)


def test_weights_that_are_decompressed_once_and_read_twice_keep_their_unit() -> None:
    data = opset.parameter([1, 6, 8, 8], np.float32)
    random = np.random.default_rng(0)
    shared = opset.convert(opset.constant(random.standard_normal((6, 6, 1, 1)).astype(np.float16)), "f32")
    value = data
    for name in ("first", "second"):
        value = opset.relu(opset.convolution(value, shared, [1, 1], [0, 0], [0, 0], [1, 1], name=name))
    own = opset.convert(opset.constant(random.standard_normal((4, 6, 1, 1)).astype(np.float16)), "f32")
    last = opset.convolution(value, own, [1, 1], [0, 0], [0, 0], [1, 1], name="last")
    quantizable = find_layers(ov.Model([last], [data]))

    assert [layer.group for layer in quantizable.layers] == ["first", "first", "last"]
    assert not find_channel_groups(quantizable)
    assert [layer.name for layer in layers_of_own_input(quantizable)] == ["last"]


def test_steps_are_found_again_and_nothing_else_is_scaled(tmp_path_factory: pytest.TempPathFactory) -> None:
    quantizable = residual_network()
    groups = find_channel_groups(quantizable)
    steps = {name: values for name, values in random_steps(groups).items() if name in ("stem", "c")}
    path = tmp_path_factory.mktemp("scaled") / "model.xml"

    scaled = scale_channels(quantizable, groups, steps)

    ov.save_model(scaled.model, path, compress_to_fp16=False)
    for model in (scaled.model, ov.Core().read_model(path)):
        found = channel_steps(model)
        assert list(found) == list(steps)
        for name, values in steps.items():
            np.testing.assert_array_equal(found[name], values)
    assert not channel_steps(quantizable.model)
    before, after = (operations_by_name(item.model) for item in (quantizable, scaled))
    unchanged = [
        name
        for name in ("b", "head")
        if np.array_equal(before[name].input_value(1).node.data, after[name].input_value(1).node.data)
    ]
    assert unchanged == ["head"]
    assert scale_channels(quantizable, groups, {}) is quantizable


@settings(deadline=None)
@given(st.floats(2.0**-15.9, 1))
def test_rounded_factors_are_near(factor: float) -> None:
    (found,) = factors_of(round_factors(np.array([factor])))

    assert abs(np.log2(found / factor)) <= 1 / 32 + 1e-6
