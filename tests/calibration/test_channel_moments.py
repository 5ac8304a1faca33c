"""Moments of the channels of layers' inputs."""

import numpy as np
import openvino as ov
import pytest
from openvino import opset13 as opset

from nncf_mcq.calibration.channel_moments import ChannelMoments, collect_channel_moments
from nncf_mcq.calibration.shrinkage import independent_samples
from nncf_mcq.model.layers import find_layers


def make_model() -> ov.Model:
    random = np.random.default_rng(0)
    image = opset.parameter([1, 3, 9, 9], name="image")
    value = image.output(0)
    for index, (inputs, outputs) in enumerate(((3, 5), (5, 4))):
        weights = random.standard_normal((outputs, inputs, 3, 3)).astype(np.float32)
        value = opset.convolution(value, weights, [1, 1], [0, 0], [0, 0], [1, 1], name=f"layer_{index}").output(0)
        value = opset.relu(value, name=f"relu_{index}").output(0)
    return ov.Model([value], [image])


def collect(threads: int = 1) -> tuple[ov.Model, list[np.ndarray], dict[str, ChannelMoments]]:
    model = make_model()
    images = list(np.random.default_rng(1).standard_normal((6, 1, 3, 9, 9), dtype=np.float32).cumsum(axis=2))
    layers = find_layers(model).layers
    return model, images, collect_channel_moments(model, layers, ([image] for image in images), threads=threads)


def test_moments_are_those_of_all_positions() -> None:
    model, images, found = collect()

    relu = next(node for node in model.get_ops() if node.get_friendly_name() == "relu_0")
    inner = ov.Core().compile_model(
        ov.Model([relu], model.get_parameters()), "CPU", {"INFERENCE_PRECISION_HINT": "f32"}
    )
    values = {"layer_0": np.stack(images), "layer_1": np.stack([inner(image)[0] for image in images])}
    for name, inputs in values.items():
        rows = inputs[:, 0].transpose(1, 0, 2, 3).reshape(inputs.shape[2], -1).astype(np.float64)
        np.testing.assert_allclose(found[name].mean, rows.mean(axis=1), atol=1e-5)
        np.testing.assert_allclose(found[name].largest, np.abs(rows).max(axis=1), rtol=1e-6)
        assert found[name].samples == independent_samples(len(images), rows.shape[1])
        expected = np.cov(rows, bias=True)
        np.testing.assert_allclose(found[name].covariance.diagonal(), np.diagonal(expected), rtol=1e-4)
        # Correlations are shrunk by one factor.
        others = ~np.eye(len(expected), dtype=bool)
        ratios = found[name].covariance.numpy()[others] / expected[others]
        assert 0 < ratios.mean() <= 1
        np.testing.assert_allclose(ratios, ratios.mean(), rtol=1e-3)


@pytest.mark.parametrize("threads", [2, 3])
def test_threads_change_nothing(threads: int) -> None:
    _, _, found = collect(threads)

    for name, expected in collect(1)[2].items():
        assert found[name].covariance.equal(expected.covariance)
        assert found[name].mean.equal(expected.mean)


def test_a_scaled_input_has_as_many_samples() -> None:
    _, _, found = collect()
    factors = np.array([0.5, 2, 4], np.float32)
    scaled = found["layer_0"].scaled(factors)
    assert scaled.samples == found["layer_0"].samples
    np.testing.assert_allclose(scaled.largest, found["layer_0"].largest * factors)
    np.testing.assert_allclose(scaled.mean, found["layer_0"].mean * factors)
    variances = [moments.covariance.diagonal() for moments in (scaled, found["layer_0"])]
    np.testing.assert_allclose(variances[0], variances[1] * factors**2)
