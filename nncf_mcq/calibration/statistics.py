"""Moments of each layer's input, from which range rules, rounding and corrections are computed."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import openvino as ov
import torch
from numpy.typing import NDArray
from openvino import opset13 as opset

from nncf_mcq.calibration.shrinkage import central_covariance
from nncf_mcq.calibration.unfolding import layer_input, unfolder
from nncf_mcq.errors import QuantizationError
from nncf_mcq.model.algorithm import ActivationPoint
from nncf_mcq.model.inference import compile_model
from nncf_mcq.model.layer_forms import STATE_PORTS
from nncf_mcq.model.layers import QuantizableLayer, QuantizableModel
from nncf_mcq.model.nodes import operations_by_name
from nncf_mcq.utils.torch_threads import TorchPool

MAXIMUM_COLUMNS = 8192
"""Layers with more inputs per output value keep only the diagonal of their second moments (256 MB at the limit)."""


@dataclass(frozen=True)
class LayerStatistics:
    """Moments of the inputs of one output value, over all positions of all calibration images.

    Attributes:
        mean: (groups, columns).
        covariance: (groups, columns, columns), its correlations shrunk by `shrink_covariance`, or None where it
            would be too large.
        variance: (groups, columns), the diagonal of the covariance.
    """

    mean: torch.Tensor
    covariance: torch.Tensor | None
    variance: torch.Tensor

    @classmethod
    def of_entries(cls, layer: QuantizableLayer) -> LayerStatistics:
        """Those of an embedding, whose entries are looked up and not multiplied: each value counts the same."""
        shape = (layer.groups, layer.columns)
        return cls(torch.zeros(shape), None, torch.ones(shape))

    @property
    def second_moment(self) -> torch.Tensor | None:
        """(groups, columns, columns): the covariance before the mean is taken off."""
        if self.covariance is None:
            return None
        return self.covariance + self.mean[:, :, None] * self.mean[:, None, :]


@dataclass(frozen=True)
class ActivationStatistics:
    """Values seen at a place where an activation is quantized.

    Attributes:
        minima: (images, channels) smallest value of each image; one channel where the range is per tensor.
        maxima: (images, channels) largest value of each image.
        samples: (channels, samples) values drawn at random, the same number from each image.
        rank: Number of dimensions of the activation.
    """

    minima: torch.Tensor
    maxima: torch.Tensor
    samples: torch.Tensor
    rank: int

    def of_images(self, indices: NDArray[np.intp]) -> ActivationStatistics:
        """Values of some of the images.

        Args:
            indices: Of the images.
        """
        chosen = torch.from_numpy(indices)
        by_image = self.samples.reshape(len(self.samples), len(self.minima), -1)
        return ActivationStatistics(self.minima[chosen], self.maxima[chosen], by_image[:, chosen].flatten(1), self.rank)


@dataclass(frozen=True)
class ModelStatistics:
    """Statistics from one pass of the float model over the calibration images.

    Attributes:
        layers: Layer name to the moments of its input.
        activations: Activation point name to the values seen there.
    """

    layers: Mapping[str, LayerStatistics]
    activations: Mapping[str, ActivationStatistics]


CHANNEL_SAMPLES_PER_IMAGE = 16
TENSOR_SAMPLES_PER_IMAGE = 2048
"""Values kept of one image for the range of an activation, per channel or per tensor."""


class _Rows:
    """Vectors of one length in one growing tensor.

    Small tensors that stay, each among large ones that come and go, would fragment the heap: by gigabytes, as measured.
    """

    def __init__(self) -> None:
        self._values = torch.empty(0, 0)
        self._count = 0

    def append(self, row: torch.Tensor) -> None:
        if self._count == len(self._values):
            larger = torch.empty(max(2 * self._count, 128), row.numel())
            if self._count:
                larger[: self._count] = self._values
            self._values = larger
        self._values[self._count] = row.flatten()
        self._count += 1

    @property
    def values(self) -> torch.Tensor:
        """(rows, length)."""
        return self._values[: self._count].clone()


class _ActivationAccumulator:
    """Extremes and random samples of one activation."""

    def __init__(self, point: ActivationPoint) -> None:
        self.per_channel = point.per_channel
        self.rank = 0
        self.channels = 1
        self.minima, self.maxima, self.samples = _Rows(), _Rows(), _Rows()
        self.generator = torch.Generator().manual_seed(0)

    def add(self, values: torch.Tensor) -> None:
        self.rank = values.ndim
        rows = values.transpose(0, 1).flatten(1) if self.per_channel else values.reshape(1, -1)
        self.channels = len(rows)
        self.minima.append(rows.amin(dim=1))
        self.maxima.append(rows.amax(dim=1))
        wanted = CHANNEL_SAMPLES_PER_IMAGE if self.per_channel else TENSOR_SAMPLES_PER_IMAGE
        position = torch.randint(rows.shape[1], (wanted,), generator=self.generator)
        self.samples.append(rows[:, position])

    def result(self) -> ActivationStatistics:
        samples = self.samples.values
        samples = samples.reshape(len(samples), self.channels, -1).transpose(0, 1).flatten(1)
        return ActivationStatistics(self.minima.values, self.maxima.values, samples, self.rank)


class _Accumulator:
    """Running sums of one layer; means over batches of equal weight per position keep float32 exact enough."""

    def __init__(self, operation: ov.Node, layer: QuantizableLayer) -> None:
        self.layer = layer
        self.unfold = unfolder(operation, layer)
        self.full = layer.columns <= MAXIMUM_COLUMNS
        self.count = 0
        self.images = 0
        self.sum = torch.zeros(layer.groups, layer.columns, dtype=torch.float64)
        shape = (layer.groups, layer.columns, layer.columns) if self.full else (layer.groups, layer.columns)
        self.square = torch.zeros(shape, dtype=torch.float32)

    def add(self, values: torch.Tensor) -> None:
        columns = self.unfold(values)  # (groups, columns, positions)
        self.count += columns.shape[2]
        self.images += len(values)
        self.sum += columns.sum(dim=2, dtype=torch.float64)
        if self.full:
            self.square.baddbmm_(columns, columns.transpose(1, 2))
        else:
            self.square += columns.square().sum(dim=2)

    def result(self) -> LayerStatistics:
        """The moments; the sums are used up."""
        mean = (self.sum / self.count).to(torch.float32)
        square = self.square.div_(self.count)
        if not self.full:
            return LayerStatistics(mean, None, (square - mean.square()).clamp_min(0))
        shrunk = central_covariance(square, mean, self.images, self.count)
        return LayerStatistics(mean, shrunk, torch.diagonal(shrunk, dim1=1, dim2=2))


def collect_statistics(
    quantizable: QuantizableModel,
    inputs: Iterable[NDArray[np.float32] | Sequence[NDArray[np.generic]]],
    *,
    threads: int,
    moment_images: int | None = None,
    progress: Callable[[], None] = lambda: None,
) -> ModelStatistics:
    """Runs the float model once over the calibration inputs and observes every layer's input and every activation.

    Args:
        quantizable: The float model and its layers.
        inputs: The input of the model's own shape, or a sequence of one for each input, for one sample at a time.
        threads: Inference threads.
        moment_images: Number of inputs, the first ones, that the moments of the layers' inputs are made from; None for
            all. The activations are observed on all of them.
        progress: Called after each input.

    Returns:
        Moments of each layer's input and values of each activation. Layers that share a constant get the pooled
        covariance of the group, each its own mean.

    Raises:
        QuantizationError: There is no input, or an activation is not finite.
    """
    model = quantizable.model.clone()
    operations = operations_by_name(model)
    observers: dict[ov.Output, list[_Accumulator | _ActivationAccumulator]] = {}
    layers: dict[str, _Accumulator] = {}
    activations: dict[str, _ActivationAccumulator] = {}
    for layer in quantizable.layers:
        value = layer_input(operations[layer.name], layer)
        if value is not None:
            layers[layer.name] = _Accumulator(operations[layer.name], layer)
            observers.setdefault(value, []).append(layers[layer.name])
    for point in quantizable.activation_points:
        activations[point.name] = _ActivationAccumulator(point)
        observers.setdefault(observed_output(operations, point), []).append(activations[point.name])
    observed = list(observers)
    results = [opset.result(value) for value in observed]
    compiled = compile_model(ov.Model(results, model.get_parameters(), "statistics"), threads)
    request = compiled.create_infer_request()
    seen = 0
    with TorchPool(threads) as pool:
        for item in inputs:
            request.infer(item, share_inputs=True)
            tensors = [request.get_output_tensor(index).data for index in range(len(observers))]

            def observe(index: int, tensors: list[NDArray[np.float32]] = tensors, image: int = seen) -> None:
                values = torch.from_numpy(tensors[index])
                if not bool(torch.isfinite(values).all()):
                    name = observed[index].get_node().get_friendly_name()
                    raise QuantizationError(f"{name}: its output on calibration image {image} is not finite")
                for listener in observers[observed[index]]:
                    if isinstance(listener, _ActivationAccumulator) or moment_images is None or image < moment_images:
                        listener.add(values)

            list(pool.map(observe, range(len(observers))))
            seen += 1
            progress()
    if not seen:
        raise QuantizationError("the calibration data set is empty: give at least one image")
    # Sums and moments are as large as each other, and there need not be all of both.
    observers.clear()
    moments = {
        layer.name: layers.pop(layer.name).result() if layer.name in layers else LayerStatistics.of_entries(layer)
        for layer in quantizable.layers
    }
    for members in quantizable.groups.values():
        if len(members) > 1:
            _pool(moments, [member.name for member in members])
    return ModelStatistics(moments, {name: accumulator.result() for name, accumulator in activations.items()})


def observed_output(operations: Mapping[str, ov.Node], point: ActivationPoint) -> ov.Output:
    """The tensor whose values a range must cover: the output of the point's operation, or what an input of it reads.

    The CPU plugin quantizes the hidden states of a recurrent layer on the grid of its input: they are appended.

    Args:
        operations: By name; nodes are added behind recurrent ones.
        point: The activation point.
    """
    operation = operations[point.location]
    value = operation.output(point.output_port) if point.input_port is None else operation.input_value(point.input_port)
    readers = [operations[name] for name in point.operations]
    states = [reader.output(0) for reader in readers if reader.get_type_name() in STATE_PORTS and point.reaches(reader)]
    if not states or point.per_channel:
        return value
    return opset.concat([opset.reshape(item, [-1], False) for item in (value, *states)], 0).output(0)


def _pool(statistics: dict[str, LayerStatistics], names: list[str]) -> None:
    """Layers that share their weights are quantized once: for the average of their inputs' moments."""
    covariances = [statistics[name].covariance for name in names]
    variance = torch.stack([statistics[name].variance for name in names]).mean(dim=0)
    known = [covariance for covariance in covariances if covariance is not None]
    covariance = torch.stack(known).mean(dim=0) if len(known) == len(names) else None
    for name in names:
        statistics[name] = LayerStatistics(statistics[name].mean, covariance, variance)
