from __future__ import annotations

import threading
from typing import Any

import numpy as np
import openvino as ov
import pytest
import torch
from openvino import opset13 as opset

from nncf_mcq.calibration import objectives as module
from nncf_mcq.calibration.fisher import collect_fisher
from nncf_mcq.calibration.objectives import sample_label
from nncf_mcq.errors import QuantizationError
from nncf_mcq.model.layers import QuantizableModel, find_layers
from nncf_mcq.model.loading import to_openvino
from tests.models import (
    SAMPLE_SIZE,
    convolution,
    convolution_model,
    make_model,
    matmul_model,
    random_constant,
    random_images,
    shared_weights_model,
    small_network,
)


class PlainNetwork(torch.nn.Module):
    """No normalization: the IR has the module's own weights. Convolution, grouped, depthwise and linear."""

    def __init__(self) -> None:
        super().__init__()
        self.convolution = torch.nn.Conv2d(3, 8, 3, stride=2, padding=1)
        self.grouped = torch.nn.Conv2d(8, 4, 3, padding=1, groups=2)
        self.depthwise = torch.nn.Conv2d(4, 4, 3, padding=1, groups=4)
        self.linear = torch.nn.Linear(4, 5)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        values = torch.relu(self.convolution(images))
        values = torch.relu(self.grouped(values))
        values = self.depthwise(values).sigmoid().mean((2, 3))
        result: torch.Tensor = self.linear(values)
        return result


def plain_network() -> tuple[PlainNetwork, QuantizableModel]:
    torch.manual_seed(0)
    network = PlainNetwork().eval()
    for parameter in network.parameters():
        parameter.data.mul_(3)
    return network, find_layers(to_openvino(network, SAMPLE_SIZE))


def of_kind(quantizable: QuantizableModel, found: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {layer.kind: found[layer.name] for layer in quantizable.layers}


KINDS = {
    "convolution": "convolution",
    "grouped_convolution": "grouped",
    "depthwise_convolution": "depthwise",
    "matmul": "linear",
}
SHAPES = {
    "convolution": (1, 8, 27),
    "grouped_convolution": (2, 2, 36),
    "depthwise_convolution": (4, 1, 9),
    "matmul": (1, 5, 4),
}


def test_equals_squared_gradients_of_single_images(monkeypatch: pytest.MonkeyPatch) -> None:
    network, quantizable = plain_network()
    images, labels = random_images(6), [0, 3, 1, 4, 4, 2]
    drawn = iter(labels)
    monkeypatch.setattr(module, "sample_label", lambda logits, generator: next(drawn))
    steps: list[None] = []
    found = of_kind(quantizable, collect_fisher(quantizable, images, threads=1, progress=lambda: steps.append(None)))
    assert len(steps) == 6
    expected = {name: torch.zeros_like(parameter) for name, parameter in network.named_parameters()}
    for image, label in zip(torch.from_numpy(images), labels, strict=True):
        network.zero_grad()
        torch.nn.functional.cross_entropy(network(image[None]), torch.tensor([label])).backward()
        for name, parameter in network.named_parameters():
            assert parameter.grad is not None
            expected[name] += parameter.grad.square() / 6
    assert set(found) == set(KINDS)
    for kind, name in KINDS.items():
        assert found[kind].shape == SHAPES[kind]
        assert found[kind].max() > 0
        torch.testing.assert_close(found[kind], expected[f"{name}.weight"].reshape(SHAPES[kind]), rtol=1e-4, atol=1e-9)


def test_is_the_hessian_of_the_divergence_in_the_mean_over_the_draws() -> None:
    weights = (random_constant(6, 4).get_data() * 0.3).astype(np.float32)
    model = make_model(lambda data: opset.matmul(data, opset.constant(weights), False, False, name="layer"), (1, 6))
    images, draws = random_images(2, (1, 6)), 600
    found = collect_fisher(find_layers(model), images.repeat(draws, axis=0), threads=1)["layer"][0]
    inputs, weight = torch.from_numpy(images).double(), torch.from_numpy(weights).double()
    probabilities = (inputs @ weight).softmax(1)

    def divergence(changed: torch.Tensor) -> torch.Tensor:
        logarithms = (inputs @ changed.reshape(6, 4)).log_softmax(1)
        return (probabilities * (probabilities.log() - logarithms)).sum(dim=1).mean()

    hessian = torch.autograd.functional.hessian(divergence, weight.flatten())
    expected = torch.diagonal(hessian).reshape(6, 4).T.float()
    assert probabilities.min() > 0.05
    # Four standard deviations of how often the rarest class is drawn.
    torch.testing.assert_close(found, expected, rtol=4 * (0.95 / 0.05 / draws) ** 0.5, atol=0)
    torch.testing.assert_close(found.sum(), expected.sum(), rtol=0.1, atol=0)


def test_labels_are_drawn_from_the_softmax() -> None:
    logits = torch.tensor([2.0, 0.0, -1.0, -200.0])
    generator = np.random.default_rng(0)
    counts = np.bincount([sample_label(logits, generator) for _ in range(4000)], minlength=4) / 4000
    np.testing.assert_allclose(counts, logits.softmax(0).numpy(), atol=0.03)
    assert counts[3] == 0


def test_depends_on_the_seed_only() -> None:
    quantizable = find_layers(to_openvino(small_network(), SAMPLE_SIZE))
    images = random_images(7)
    first = collect_fisher(quantizable, images, threads=1, seed=3)
    for threads in (1, 2, 3, 16):
        again = collect_fisher(quantizable, images, threads=threads, seed=3)
        assert all(torch.equal(first[name], again[name]) for name in first)
    other = collect_fisher(quantizable, images, threads=1, seed=4)
    assert not all(torch.equal(first[name], other[name]) for name in first)


def test_no_more_images_at_a_time_than_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    quantizable = find_layers(to_openvino(small_network(), SAMPLE_SIZE))
    lock, held, most = threading.Lock(), 0, 0
    # Two images wait for each other: on a busy machine one may otherwise be done before the next begins.
    both = threading.Barrier(2, timeout=60)
    draw = sample_label

    def count(*arguments: Any) -> int:
        nonlocal held, most
        with lock:
            held += 1
            most = max(most, held)
        both.wait()
        return draw(*arguments)

    def release() -> None:
        nonlocal held
        with lock:
            held -= 1

    monkeypatch.setattr(module, "sample_label", count)
    collect_fisher(quantizable, random_images(8), threads=2, progress=release)
    assert (held, most) == (0, 2)


@pytest.mark.parametrize("transpose_b", [True, False])
def test_weights_of_a_matmul_in_either_layout(transpose_b: bool) -> None:
    weights = random_constant(4, 6) if transpose_b else random_constant(6, 4)
    model = make_model(lambda data: opset.matmul(data, weights, False, transpose_b, name="layer"), (1, 6))
    images = random_images(1, (1, 6))
    found = collect_fisher(find_layers(model), images, threads=1)["layer"]
    # One image: the gradient is an outer product of the outputs' and the inputs.
    assert found.shape == (1, 4, 6)
    columns = torch.from_numpy(images[0]).square()
    torch.testing.assert_close(found[0] / found[0].sum(dim=1, keepdim=True), (columns / columns.sum()).expand(4, 6))


def test_other_outputs_count_by_their_mean_squared_error() -> None:
    # A MatMul over several positions: the output is (1, 5, 4), not classes.
    image = np.abs(random_images(1, (1, 5, 6)))
    quantizable = find_layers(matmul_model((1, 5, 6), (6, 4)))
    found = collect_fisher(quantizable, image.repeat(400, axis=0), threads=1)["layer"]
    # The Gauss-Newton diagonal of the mean of 20 squares. All inputs are positive: without signs, the products of two
    # positions would add up.
    expected = torch.from_numpy(image[0]).square().sum(dim=0) / 20
    torch.testing.assert_close(found[0], expected.expand(4, 6), rtol=0.3, atol=0)
    # One image and one position: signs cancel out of the square.
    image = random_images(1, (1, 1, 6))
    found = collect_fisher(find_layers(matmul_model((1, 1, 6), (6, 4))), image, threads=1)["layer"]
    torch.testing.assert_close(found[0], (torch.from_numpy(image[0, 0]).square() / 4).expand(4, 6))


def test_a_single_output_is_no_classifier() -> None:
    image = random_images(1, (1, 6))
    found = collect_fisher(find_layers(matmul_model((1, 6), (6, 1))), image, threads=1)["layer"]
    torch.testing.assert_close(found[0], torch.from_numpy(image).square())


def test_one_dimensional_convolutions() -> None:
    found = collect_fisher(
        find_layers(convolution_model((1, 4, 10), (6, 4, 3))), random_images(2, (1, 4, 10)), threads=1
    )
    assert found["layer"].shape == (1, 6, 12)


def test_layers_that_share_a_constant_get_the_sum() -> None:
    shared = find_layers(shared_weights_model())

    def build(data: ov.Node) -> ov.Node:
        values = opset.relu(convolution(data, random_constant(4, 4, 3, 3), "first", pad=1))
        # Equal weights, but a constant of its own.
        values = opset.relu(convolution(values, random_constant(4, 4, 3, 3), "second", pad=1))
        return convolution(values, random_constant(2, 4, 1, 1, seed=1), "last")

    apart = find_layers(make_model(build, (1, 4, 6, 6)))
    assert [len(model.groups) for model in (shared, apart)] == [2, 3]
    images = random_images(3, (1, 4, 6, 6))
    found, single = (collect_fisher(model, images, threads=1) for model in (shared, apart))
    torch.testing.assert_close(found["first"], single["first"] + single["second"])
    torch.testing.assert_close(found["second"], found["first"])
    torch.testing.assert_close(found["last"], single["last"])


def test_every_output_counts_and_a_layer_without_influence_gets_zeros() -> None:
    parameter = opset.parameter([1, 6], ov.Type.f32, name="image")
    first, second, third = (
        opset.matmul(parameter, random_constant(6, 4, seed=seed), False, False, name=name)
        for seed, name in enumerate(("first", "second", "third"))
    )
    without = opset.multiply(third, opset.constant(np.float32(0)))
    quantizable = find_layers(ov.Model([first, opset.reshape(second, [1, 2, 2], False), without], [parameter], "model"))
    found = collect_fisher(quantizable, random_images(2, (1, 6)), threads=1)
    assert found["first"].min() > 0
    assert found["second"].min() > 0
    assert found["third"].shape == (1, 4, 6)
    assert not found["third"].any()


def test_names_what_it_cannot_use() -> None:
    quantizable = find_layers(matmul_model((1, 6), (6, 4)))
    with pytest.raises(QuantizationError, match="at least one image"):
        collect_fisher(quantizable, random_images(0, (1, 6)), threads=1)
    model = make_model(
        lambda data: opset.cum_sum(
            opset.matmul(data, random_constant(6, 4), False, False), opset.constant(1), name="sums"
        ),
        (1, 6),
    )
    with pytest.raises(QuantizationError, match=r"sums.*CumSum"):
        collect_fisher(find_layers(model), random_images(1, (1, 6)), threads=1)
    # The derivative of the root is infinite at 0.
    root = make_model(
        lambda data: opset.sqrt(opset.matmul(data, random_constant(6, 4), False, False, name="layer")),
        (1, 6),
    )
    with pytest.raises(QuantizationError, match=r"layer: its gradient on calibration image 0 is not finite"):
        collect_fisher(find_layers(root), np.zeros((1, 6), np.float32), threads=1)
