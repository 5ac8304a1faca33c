from __future__ import annotations

import itertools
import math
from typing import Any

import numpy as np
import openvino as ov
import pytest
import torch
from numpy.typing import NDArray

import nncf_mcq.calibration.shrinkage
import nncf_mcq.calibration.statistics
import nncf_mcq.calibration.unfolding
from nncf_mcq import QuantizationError
from nncf_mcq.calibration.shrinkage import INDEPENDENCE, shrink_covariance
from nncf_mcq.calibration.statistics import ModelStatistics, collect_statistics
from nncf_mcq.model.layers import QuantizableModel, find_layers
from nncf_mcq.model.loading import to_openvino
from nncf_mcq.model.nodes import constant_value, operations_by_name
from tests.models import (
    SAMPLE_SIZE,
    convolution_model,
    embedding_model,
    matmul_model,
    random_images,
    run,
    shared_weights_model,
    small_network,
)
from tests.recurrent import INPUTS, STATES, STEPS, recurrent_model


def collect(quantizable: QuantizableModel, images: NDArray[np.float32]) -> ModelStatistics:
    return collect_statistics(quantizable, (image[None] for image in images), threads=1)


def patches(
    images: NDArray[Any], kernel: tuple[int, ...], groups: int, stride: int, begin: int, end: int, dilation: int
) -> NDArray[np.float64]:
    """(groups, columns, positions) by looping over the positions of the output."""
    spatial = len(kernel)
    padded = np.pad(images.astype(np.float64), [(0, 0), (0, 0), *[(begin, end)] * spatial])
    ranges = [
        range(0, size - (width - 1) * dilation, stride) for size, width in zip(padded.shape[2:], kernel, strict=True)
    ]
    found = []
    for image, *corner in itertools.product(padded, *ranges):
        window = tuple(
            slice(start, start + (width - 1) * dilation + 1, dilation)
            for start, width in zip(corner, kernel, strict=True)
        )
        found.append(image[(slice(None), *window)].reshape(groups, -1))
    return np.stack(found, axis=2)


def shrunk(columns: NDArray[np.float64], images: int) -> NDArray[np.float64]:
    """(groups, columns, columns) covariance of the positions of some images, shrunk towards its diagonal."""
    centred = columns - columns.mean(axis=2, keepdims=True)
    covariance = centred @ centred.transpose(0, 2, 1) / columns.shape[2]
    samples = images * (columns.shape[2] / images) ** INDEPENDENCE
    for matrix in covariance:
        variance = np.diag(np.diag(matrix))
        correlated = matrix - variance
        # The variance of an element that is sampled from a normal distribution: (s_ij^2 + s_ii s_jj) / n.
        products = np.outer(np.diag(matrix), np.diag(matrix))
        noise = ((np.square(matrix) + products) / samples)[~np.eye(len(matrix), dtype=bool)].sum()
        matrix[:] = variance + correlated * np.clip(1 - noise / np.square(correlated).sum(), 0, 1)
    return covariance


def assert_moments(statistics: ModelStatistics, columns: NDArray[np.float64], images: int) -> None:
    found = statistics.layers["layer"]
    np.testing.assert_allclose(found.mean, columns.mean(axis=2), atol=2e-5)
    covariance = shrunk(columns, images)
    assert found.covariance is not None
    np.testing.assert_allclose(found.covariance, covariance, atol=1e-4)
    np.testing.assert_allclose(found.variance, np.diagonal(covariance, axis1=1, axis2=2), atol=1e-4)


@pytest.mark.parametrize(("samples", "kept"), [(10, (0.0, 0.3)), (10**6, (0.999, 1.0))])
def test_correlations_are_shrunk_the_more_the_fewer_samples_they_are_from(
    samples: int, kept: tuple[float, float]
) -> None:
    covariance = torch.stack([torch.full((20, 20), 0.3) + 0.7 * torch.eye(20), torch.eye(20)])
    found = shrink_covariance(covariance, samples)
    torch.testing.assert_close(torch.diagonal(found, dim1=1, dim2=2), torch.ones(2, 20))
    assert kept[0] <= float(found[0, 0, 1]) / 0.3 <= kept[1]
    assert torch.equal(found[1], covariance[1])
    assert float(covariance[0, 0, 1]) == pytest.approx(0.3)


CONVOLUTIONS: list[tuple[tuple[int, ...], tuple[int, ...], dict[str, Any], tuple[int, int, int, int]]] = [
    # Shape, weight shape, options, and what they mean: stride, padding before and after, dilation.
    ((1, 3, 9, 7), (2, 3, 3, 3), {}, (1, 0, 0, 1)),
    ((1, 3, 9, 7), (2, 3, 3, 2), {"stride": 2, "pad": 1}, (2, 1, 1, 1)),
    ((1, 3, 9, 7), (2, 3, 3, 3), {"dilation": 2, "pad": 2}, (1, 2, 2, 2)),
    ((1, 3, 8, 8), (2, 3, 4, 4), {"auto_pad": "same_upper"}, (1, 1, 2, 1)),
    ((1, 3, 8, 8), (2, 3, 4, 4), {"auto_pad": "same_lower"}, (1, 2, 1, 1)),
    ((1, 3, 8, 8), (2, 3, 3, 3), {"auto_pad": "same_upper", "stride": 2}, (2, 0, 1, 1)),
    ((1, 3, 8, 8), (2, 3, 3, 3), {"auto_pad": "valid", "pad": 0}, (1, 0, 0, 1)),
    ((1, 3, 9), (2, 3, 3), {"stride": 2, "pad": 1}, (2, 1, 1, 1)),
    ((1, 4, 9, 7), (4, 1, 1, 3, 3), {"grouped": True, "pad": 1}, (1, 1, 1, 1)),
    ((1, 4, 9, 7), (4, 2, 1, 3, 3), {"grouped": True}, (1, 0, 0, 1)),
    ((1, 4, 9), (4, 1, 1, 3), {"grouped": True, "pad": 1}, (1, 1, 1, 1)),
    ((1, 4, 9, 7), (2, 3, 2, 3, 3), {"grouped": True, "stride": 2}, (2, 0, 0, 1)),
]


@pytest.mark.parametrize(("shape", "weight_shape", "options", "geometry"), CONVOLUTIONS)
def test_moments_of_a_convolution_are_those_of_its_patches(
    shape: tuple[int, ...], weight_shape: tuple[int, ...], options: dict[str, Any], geometry: tuple[int, int, int, int]
) -> None:
    images = random_images(3, shape) + np.linspace(0, 1, math.prod(shape[1:]), dtype=np.float32).reshape(shape[1:])
    quantizable = find_layers(convolution_model(shape, weight_shape, **options))
    kernel = weight_shape[3 if options.get("grouped") else 2 :]
    columns = patches(images, kernel, quantizable.layers[0].groups, *geometry)
    assert_moments(collect(quantizable, images), columns, len(images))


@pytest.mark.parametrize(
    ("shape", "weight_shape", "options"),
    [
        ((1, 6), (4, 6), {"transpose_b": True}),
        ((1, 6), (6, 4), {}),
        ((1, 5, 6), (6, 4), {}),
        ((1, 6, 5), (6, 4), {"transpose_a": True}),
    ],
)
def test_moments_of_a_matmul_are_those_of_its_rows(
    shape: tuple[int, ...], weight_shape: tuple[int, ...], options: dict[str, bool]
) -> None:
    images = random_images(7, shape) + 1
    features = np.swapaxes(images, 1, 2) if options.get("transpose_a") else images
    columns = features.reshape(-1, 6).T[None].astype(np.float64)
    assert_moments(collect(find_layers(matmul_model(shape, weight_shape, **options)), images), columns, len(images))


@pytest.mark.parametrize(
    "model",
    [
        convolution_model((1, 3, 9, 7), (5, 3, 3, 3), stride=2, pad=1),
        convolution_model((1, 4, 9, 7), (2, 3, 2, 3, 3), grouped=True),
        convolution_model((1, 4, 9, 7), (4, 2, 1, 3, 3), grouped=True),
        matmul_model((1, 5, 6), (6, 4)),
    ],
)
def test_weight_matrices_times_the_mean_are_the_mean_output(model: ov.Model) -> None:
    quantizable = find_layers(model)
    (layer,) = quantizable.layers
    images = random_images(4, tuple(model.input(0).shape)) + 1
    weights = layer.to_matrices(constant_value(operations_by_name(model)["layer"], layer.weight_port))
    mean = collect(quantizable, images).layers["layer"].mean.numpy()
    outputs = run(model, images, threads=1, batch_size=1)
    channel = outputs.ndim - 1 if layer.kind == "matmul" else 1
    expected = outputs.mean(axis=tuple(axis for axis in range(outputs.ndim) if axis != channel))
    np.testing.assert_allclose(np.einsum("grc,gc->gr", weights, mean).reshape(-1), expected, atol=1e-4)


def test_sampled_positions_tell_the_same_as_all_of_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nncf_mcq.calibration.unfolding, "POSITIONS_PER_IMAGE", 16)
    shape = (1, 2, 16, 16)
    # A gradient over the image: positions from one side only would be far off.
    gradient = np.linspace(-2, 2, 16, dtype=np.float32)
    images = random_images(200, shape) * 0.5 + gradient[:, None] + np.array([0, 1], dtype=np.float32)[:, None, None]
    images[:, 1] += gradient
    statistics = collect(find_layers(convolution_model(shape, (3, 2, 1, 1))), images).layers["layer"]
    columns = images.transpose(1, 0, 2, 3).reshape(2, -1)
    np.testing.assert_allclose(statistics.mean[0], columns.mean(axis=1), atol=0.1)
    assert statistics.covariance is not None
    np.testing.assert_allclose(statistics.covariance[0], np.cov(columns, bias=True), rtol=0.1, atol=0.1)
    assert not np.allclose(statistics.mean[0], columns.mean(axis=1), atol=1e-6)


def test_at_least_as_many_positions_are_sampled_as_there_are_columns(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nncf_mcq.calibration.unfolding, "POSITIONS_PER_IMAGE", 1)
    monkeypatch.setattr(nncf_mcq.calibration.shrinkage, "INDEPENDENCE", 20.0)  # So many samples that nothing is shrunk.
    quantizable = find_layers(convolution_model((1, 3, 8, 8), (2, 3, 3, 3), pad=1))
    covariance = collect(quantizable, random_images(1)).layers["layer"].covariance
    # 27 samples have a covariance of rank 26; fewer would have less.
    assert covariance is not None
    assert int(torch.linalg.matrix_rank(covariance[0], rtol=1e-4)) == 26


def test_a_layer_of_very_many_inputs_keeps_only_variances(monkeypatch: pytest.MonkeyPatch) -> None:
    quantizable = find_layers(convolution_model(SAMPLE_SIZE, (2, 3, 3, 3)))
    full = collect(quantizable, random_images(3)).layers["layer"]
    monkeypatch.setattr(nncf_mcq.calibration.statistics, "MAXIMUM_COLUMNS", 26)
    statistics = collect(quantizable, random_images(3)).layers["layer"]
    assert statistics.covariance is None
    assert statistics.second_moment is None
    torch.testing.assert_close(statistics.variance, full.variance, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(statistics.mean, full.mean)


def test_activation_extremes_are_those_of_each_image() -> None:
    images = random_images(4)
    per_tensor = collect(find_layers(convolution_model(SAMPLE_SIZE, (2, 3, 3, 3))), images).activations["image"]
    np.testing.assert_array_equal(per_tensor.minima, images.min(axis=(1, 2, 3))[:, None])
    np.testing.assert_array_equal(per_tensor.maxima, images.max(axis=(1, 2, 3))[:, None])
    assert np.isin(per_tensor.samples, images).all()
    assert per_tensor.samples.std().item() == pytest.approx(images.std(), rel=0.1)
    model = convolution_model(SAMPLE_SIZE, (3, 1, 1, 3, 3), grouped=True)
    assert collect(find_layers(model), images).activations["image"].minima.shape == (4, 1)
    depthwise = find_layers(model, per_channel_activations=True)
    per_channel = collect(depthwise, images).activations["image"]
    np.testing.assert_array_equal(per_channel.minima, images.min(axis=(2, 3)))
    np.testing.assert_array_equal(per_channel.maxima, images.max(axis=(2, 3)))
    for channel in range(3):
        assert np.isin(per_channel.samples[channel], images[:, channel]).all()


def test_activations_of_many_images_are_all_kept() -> None:
    images = random_images(300)
    model = convolution_model(SAMPLE_SIZE, (3, 1, 1, 3, 3), grouped=True)
    found = collect(find_layers(model, per_channel_activations=True), images).activations["image"]
    np.testing.assert_array_equal(found.minima, images.min(axis=(2, 3)))
    np.testing.assert_array_equal(found.maxima, images.max(axis=(2, 3)))
    for channel in range(3):
        samples = found.samples[channel].reshape(300, -1)
        assert all(np.isin(row, images[index, channel]).all() for index, row in enumerate(samples.numpy()))


def test_every_layer_and_activation_of_a_network_is_observed() -> None:
    quantizable = find_layers(to_openvino(small_network(), SAMPLE_SIZE))
    steps = []
    images = [image[None] for image in random_images(3)]
    statistics = collect_statistics(quantizable, images, threads=1, progress=lambda: steps.append(1))
    assert set(statistics.layers) == {layer.name for layer in quantizable.layers}
    assert set(statistics.activations) == {point.name for point in quantizable.activation_points}
    assert len(steps) == 3


def test_layers_that_share_weights_share_the_average_covariance_and_keep_their_means() -> None:
    quantizable = find_layers(shared_weights_model())
    images = random_images(3, (1, 4, 6, 6)) + 1
    statistics = collect(quantizable, images).layers
    model = quantizable.model.clone()
    inner = operations_by_name(model)["relu_first"]
    values = run(ov.Model([inner], model.get_parameters(), "part"), images, threads=1, batch_size=1)
    first, second = (patches(data, (3, 3), 1, 1, 1, 1, 1) for data in (images, values))
    pooled = (shrunk(first, 3)[0] + shrunk(second, 3)[0]) / 2
    for name, columns in (("first", first), ("second", second)):
        covariance = statistics[name].covariance
        assert covariance is not None
        np.testing.assert_allclose(statistics[name].mean, columns.mean(axis=2), rtol=1e-4, atol=1e-4)
        np.testing.assert_allclose(covariance[0], pooled, rtol=1e-3, atol=1e-3 * pooled.max())
        np.testing.assert_allclose(statistics[name].variance[0], np.diagonal(pooled), rtol=1e-3)


@pytest.mark.parametrize("kind", ["lstm", "gru"])
def test_the_range_of_a_recurrent_layers_input_covers_its_states(kind: str) -> None:
    """Its int8 kernel has them on one grid: that of inputs that are never negative would cut off half the states."""
    model = recurrent_model(kind, relu=True)
    images = random_images(4, (1, STEPS, INPUTS)) * 0.1
    states = run(model, images, threads=1, batch_size=1).reshape(4, -1)
    found = collect(find_layers(model), images).activations["relu"]
    assert states.min() < 0
    np.testing.assert_allclose(found.minima[:, 0], states.min(axis=1), rtol=1e-5)
    largest = np.maximum(states.max(axis=1), images.reshape(4, -1).max(axis=1))
    np.testing.assert_allclose(found.maxima[:, 0], largest, rtol=1e-5)


def test_the_moments_of_a_recurrent_layer_are_those_of_inputs_and_states() -> None:
    model = recurrent_model("lstm", "reverse")
    images = random_images(4, (1, STEPS, INPUTS))
    states = run(model, images, threads=1, batch_size=1)
    # Of each step those of the step after it; the last one begins with zeros.
    before = np.concatenate([states[:, 1:], np.zeros_like(states[:, :1])], axis=1)
    columns = np.concatenate([images, before], axis=2).reshape(-1, INPUTS + STATES).T[None].astype(np.float64)
    assert_moments(collect(find_layers(model), images), columns, len(images))


def test_each_value_of_an_embedding_counts_the_same() -> None:
    numbers = np.zeros((2, 6), np.float32)
    found = collect(find_layers(embedding_model(layer="last")), numbers).layers["embedding"]
    assert (found.mean.shape, found.covariance) == ((1, 5), None)
    assert bool((found.mean == 0).all()) and bool((found.variance == 1).all())


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_activations_that_are_not_finite_are_an_error(value: float) -> None:
    images = random_images(3)
    images[2, 0, 0, 0] = value
    with pytest.raises(QuantizationError, match="image: its output on calibration image 2 is not finite"):
        collect(find_layers(convolution_model(SAMPLE_SIZE, (2, 3, 3, 3))), images)


def test_no_images_are_an_error() -> None:
    with pytest.raises(QuantizationError, match="the calibration data set is empty"):
        collect(find_layers(convolution_model(SAMPLE_SIZE, (2, 3, 3, 3))), random_images(0))


def test_moments_of_fewer_images_than_activations() -> None:
    images = random_images(6)
    quantizable = find_layers(to_openvino(small_network(), SAMPLE_SIZE))
    inputs = [image[None] for image in images]
    some = collect_statistics(quantizable, inputs, threads=1, moment_images=2)
    first, everything = (collect_statistics(quantizable, inputs[:count], threads=1) for count in (2, 6))
    for name, moments in some.layers.items():
        np.testing.assert_array_equal(moments.mean, first.layers[name].mean)
        np.testing.assert_array_equal(moments.variance, first.layers[name].variance)
    for name, values in some.activations.items():
        np.testing.assert_array_equal(values.maxima, everything.activations[name].maxima)
