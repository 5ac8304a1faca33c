"""Moments of the channels of a layer's input: all that equalization needs to know of it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import openvino as ov
import torch
from numpy.typing import NDArray
from openvino import opset13 as opset

from nncf_mcq.calibration.shrinkage import central_covariance, independent_samples
from nncf_mcq.model.inference import compile_model
from nncf_mcq.model.layers import QuantizableLayer
from nncf_mcq.model.nodes import operations_by_name, value_name
from nncf_mcq.utils.torch_threads import TorchPool


@dataclass(frozen=True)
class ChannelMoments:
    """Of the channels of an input, over all positions of all samples.

    Attributes:
        mean: (channels,).
        covariance: (channels, channels), its correlations shrunk by `shrink_covariance`.
        largest: (channels,) largest magnitude.
        samples: Number of independent samples that they are from.
    """

    mean: torch.Tensor
    covariance: torch.Tensor
    largest: torch.Tensor
    samples: float

    def scaled(self, factors: NDArray[np.float32]) -> ChannelMoments:
        """Those of the input times one factor for each channel, (channels,) and positive."""
        values = torch.from_numpy(factors.astype(np.float64))
        return ChannelMoments(
            self.mean * values, self.covariance * values[:, None] * values[None, :], self.largest * values, self.samples
        )


def collect_channel_moments(
    model: ov.Model,
    layers: Sequence[QuantizableLayer],
    inputs: Iterable[Sequence[NDArray[np.generic]]],
    *,
    threads: int,
    progress: Callable[[], None] = lambda: None,
) -> dict[str, ChannelMoments]:
    """Runs a float model and observes the inputs of layers.

    Args:
        model: The float model; not edited.
        layers: Layers whose input has channels in the second axis.
        inputs: The input tensors of one sample at a time, one sample at least.
        threads: Inference threads.
        progress: Called after each sample.

    Returns:
        Layer name to the moments of its input.
    """
    operations = operations_by_name(model := model.clone())
    read = [operations[layer.name].input_value(layer.data_port) for layer in layers]
    values = {value_name(value): value for value in read}
    results = [opset.result(value) for value in values.values()]
    compiled = compile_model(ov.Model(results, model.get_parameters(), "channel_moments"), threads)
    request = compiled.create_infer_request()
    sums = {key: _Sums(value.get_shape()[1]) for key, value in values.items()}
    with TorchPool(threads) as pool:
        for item in inputs:
            request.infer(item, share_inputs=True)
            tensors = [torch.from_numpy(request.get_output_tensor(index).data) for index in range(len(results))]
            list(pool.map(lambda pair: pair[0].add(pair[1]), zip(sums.values(), tensors, strict=True)))
            progress()
    moments = {key: total.moments() for key, total in sums.items()}
    return {layer.name: moments[value_name(value)] for layer, value in zip(layers, read, strict=True)}


class _Sums:
    """Running sums over the positions of one input."""

    def __init__(self, channels: int) -> None:
        self._count = self._images = 0
        self._sum = torch.zeros(channels, dtype=torch.float64)
        self._square = torch.zeros(channels, channels, dtype=torch.float64)
        self._largest = torch.zeros(channels, dtype=torch.float64)

    def add(self, values: torch.Tensor) -> None:
        rows = values.transpose(0, 1).flatten(1)
        self._count += rows.shape[1]
        self._images += len(values)
        self._sum += rows.sum(dim=1, dtype=torch.float64)
        self._square += rows @ rows.T
        self._largest = torch.maximum(self._largest, rows.abs().amax(dim=1))

    def moments(self) -> ChannelMoments:
        mean = self._sum / self._count
        square = self._square / self._count
        covariance = central_covariance(square[None], mean[None], self._images, self._count)[0]
        return ChannelMoments(mean, covariance, self._largest, independent_samples(self._images, self._count))
