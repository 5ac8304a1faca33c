"""What a layer of a quantized network gets, and what is added to its output, against the float network's."""

from __future__ import annotations

import copy
import dataclasses
import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
import openvino as ov
import torch

from nncf_mcq.calibration.shrinkage import (
    independent_samples,
    shrink_covariance,
    shrink_cross_covariance,
    shrink_unrelated,
)
from nncf_mcq.calibration.statistics import LayerStatistics
from nncf_mcq.calibration.unfolding import layer_input, output_sampler, unfolder
from nncf_mcq.model.cut_values import CutValue, part_from, passes_a_quantizer
from nncf_mcq.model.inference import compile_model, with_batch
from nncf_mcq.model.layers import QuantizableLayer
from nncf_mcq.model.nodes import operations_by_name
from nncf_mcq.model.residual import Residual, find_residual
from nncf_mcq.model.runner import ModelRunner
from nncf_mcq.model.samples import Samples
from nncf_mcq.utils.torch_threads import TorchPool

PIECES = 4
"""The images are observed in this many pieces, side by side; their number does not depend on the threads, so neither
does the result."""

CUT_BYTES = 2**28
"""Of a value that is kept for all images, so that the operations before it are not run again for each later layer."""


@dataclass(frozen=True)
class Network:
    """A network, and what it is run on: the images, or the value of them that it has been run up to.

    Attributes:
        model: All of it.
        samples: Of its inputs, or of `cut`.
        cut: The value that the samples are of; None for the inputs.
    """

    model: ov.Model
    samples: Samples = field(repr=False)
    cut: CutValue | None = None

    def compile_until(
        self, values: Callable[[ov.Model], Sequence[ov.Output]], batch_size: int, threads: int
    ) -> ov.CompiledModel:
        """What computes values of the model from the samples.

        Args:
            values: Finds them in a copy of the model, to which it may add operations.
            batch_size: Samples per inference.
            threads: Inference threads.
        """
        copy = self.model.clone()
        return compile_model(with_batch(part_from(copy, self.cut, *values(copy)), batch_size), threads)

    def advanced(self, cut: CutValue | None, pool: TorchPool, batch_size: int, threads: int) -> Network:
        """The same network, run up to a later value; itself where that would take too much memory, or cannot be done.

        Args:
            cut: The value; None for none.
            pool: Runs pieces of the samples side by side.
            batch_size: Samples per inference.
            threads: Inference threads.
        """
        if cut is None or cut == self.cut:
            return self
        shape = cut.of(self.model).get_partial_shape()
        count = len(self.samples)
        if shape.is_dynamic or not len(shape) or 4 * count * np.prod(shape.to_shape()) > CUT_BYTES:
            return self
        if passes_a_quantizer(self.model, cut):
            return self
        compiled = self.compile_until(lambda model: [cut.of(model)], batch_size, threads)
        found = pool.map(
            lambda piece: ModelRunner(compiled, batch_size=batch_size)(piece.arrays)[0], _pieces(self.samples)
        )
        values = np.concatenate(list(found)).reshape(count, *shape.to_shape()[int(shape[0] == 1) :])
        return Network(self.model, Samples(values), cut)


@dataclass(frozen=True)
class ResidualShift:
    """How what is added to a layer's output differs from that in the float network: float minus quantized values.

    Attributes:
        mean: (groups, rows).
        variance: (groups, rows).
        cross: (groups, rows, columns) covariance with the layer's inputs in the quantized network.
    """

    mean: torch.Tensor
    variance: torch.Tensor
    cross: torch.Tensor


@dataclass(frozen=True)
class InputShift:
    """How a layer's inputs in the quantized network differ from those in the float network.

    Attributes:
        float_mean: (groups, columns) mean of the float network's inputs.
        quantized: Moments of the quantized network's inputs, with their covariance.
        variance: (groups, columns) of float minus quantized inputs.
        cross: (groups, columns, columns) covariance of float minus quantized inputs with the quantized ones.
        samples: Number of independent samples that the moments are from.
        residual: Of what is added to the layer's output; None where nothing is.
    """

    float_mean: torch.Tensor
    quantized: LayerStatistics
    variance: torch.Tensor
    cross: torch.Tensor
    samples: float
    residual: ResidualShift | None = None

    @property
    def covariance(self) -> torch.Tensor:
        """(groups, columns, columns) of the quantized network's inputs."""
        assert self.quantized.covariance is not None
        return self.quantized.covariance

    def shrunk(self) -> InputShift:
        """A copy whose covariances have lost what is noise at this number of samples."""
        quantized, residual = self.quantized, self.residual
        if residual is not None:
            cross = shrink_unrelated(residual.cross, residual.variance, quantized.variance, self.samples)
            residual = dataclasses.replace(residual, cross=cross)
        return dataclasses.replace(
            self,
            quantized=dataclasses.replace(quantized, covariance=shrink_covariance(self.covariance, self.samples)),
            cross=shrink_cross_covariance(self.cross, self.variance, quantized.variance, self.samples),
            residual=residual,
        )


@dataclass(frozen=True)
class ObservedShift:
    """The shift of a layer's inputs, as all images tell it, and as two halves of them do.

    Attributes:
        shift: From all images, shrunk.
        halves: From each half of the images, as sampled; none where there is one image.
    """

    shift: InputShift
    halves: tuple[InputShift, ...]


def observe_shift(
    layer: QuantizableLayer, networks: Sequence[Network], pool: TorchPool, threads: int, batch_size: int = 1
) -> ObservedShift:
    """Runs two networks up to a layer and compares what the layer gets, and what is added to its output.

    Args:
        layer: The layer.
        networks: The float and the quantized network, with the same operation names and the same images.
        pool: Observes pieces of the images side by side.
        threads: Inference threads.
        batch_size: Samples per inference, see `shared_batch_size`.
    """
    operation = operations_by_name(networks[0].model)[layer.name]
    residual = find_layer_residual(operation, layer)

    def values(model: ov.Model) -> list[ov.Output]:
        found = layer_input(operations_by_name(model)[layer.name], layer)
        assert found is not None
        return [found] if residual is None else [found, residual.of(model)]

    compiled = [network.compile_until(values, batch_size, threads) for network in networks]

    def observe(pieces: tuple[Samples, ...]) -> _ShiftSums:
        sums = _ShiftSums(operation, layer, residual)
        runners = [ModelRunner(item, batch_size=batch_size) for item in compiled]
        # A batch at a time: what a layer gets may be large.
        for start in range(0, len(pieces[0]), batch_size):
            batches = (piece[start : start + batch_size].arrays for piece in pieces)
            found = (runner.batches(batch)[0] for runner, batch in zip(runners, batches, strict=True))
            sums.add(*([torch.from_numpy(value) for value in batch] for batch in found))
        return sums

    pieces = list(zip(*(_pieces(network.samples) for network in networks), strict=True))
    middle = len(pieces) // 2
    halves: list[_ShiftSums] = []
    for index, sums in enumerate(pool.map(observe, pieces)):
        if index in (0, middle):
            halves.append(sums)
        else:
            halves[-1].merge(sums)
        # Before the next one comes: sums are large.
        del sums
    whole = copy.deepcopy(halves[0])
    for other in halves[1:]:
        whole.merge(other)
    sampled = tuple(half.result() for half in halves) if middle else ()
    return ObservedShift(whole.result().shrunk(), sampled)


def find_layer_residual(operation: ov.Node, layer: QuantizableLayer) -> Residual | None:
    """What is added to the output of a layer whose output is compared with its input position by position.

    Args:
        operation: The layer's operation in a float model.
        layer: The layer.
    """
    is_matrix = layer.kind == "matmul" and layer.groups == 1
    return find_residual(operation) if layer.is_convolution or is_matrix else None


class _ShiftSums:
    """Running sums of the inputs x of the float and x' of the quantized network, of residuals, and of products."""

    def __init__(self, operation: ov.Node, layer: QuantizableLayer, residual: Residual | None) -> None:
        # One for each network: they sample the same positions as long as they see the same number of images.
        self._unfold_float, self._unfold_quantized = unfolder(operation, layer), unfolder(operation, layer)
        self._images = self._count = 0
        columns = layer.columns
        self._float_sum = torch.zeros(layer.groups, columns, dtype=torch.float64)
        self._quantized_sum = torch.zeros_like(self._float_sum)
        self._difference_square = torch.zeros_like(self._float_sum)
        self._products = torch.zeros(layer.groups, 2 * columns, columns)
        self._columns = columns
        self._residual = None if residual is None else _ResidualSums(operation, layer)

    def add(self, float_values: Sequence[torch.Tensor], quantized_values: Sequence[torch.Tensor]) -> None:
        # One image at a time: its patches fit into the cache.
        for index in range(len(float_values[0])):
            image = slice(index, index + 1)
            self._add_image([value[image] for value in float_values], [value[image] for value in quantized_values])

    def _add_image(self, float_values: Sequence[torch.Tensor], quantized_values: Sequence[torch.Tensor]) -> None:
        x, quantized = self._unfold_float(float_values[0]), self._unfold_quantized(quantized_values[0])
        self._images += 1
        self._count += x.shape[2]
        self._float_sum += x.sum(dim=2, dtype=torch.float64)
        self._quantized_sum += quantized.sum(dim=2, dtype=torch.float64)
        difference = x - quantized
        self._difference_square += difference.square().sum(dim=2, dtype=torch.float64)
        self._products.baddbmm_(torch.cat([difference, quantized], dim=1), quantized.transpose(1, 2))
        if self._residual is not None:
            self._residual.add(float_values[1] - quantized_values[1], quantized)

    def merge(self, other: _ShiftSums) -> None:
        self._images += other._images
        self._count += other._count
        self._float_sum += other._float_sum
        self._quantized_sum += other._quantized_sum
        self._difference_square += other._difference_square
        self._products += other._products
        if self._residual is not None and other._residual is not None:
            self._residual.merge(other._residual)

    def result(self) -> InputShift:
        """The moments as sampled; the sums are used up."""
        float_mean = (self._float_sum / self._count).to(torch.float32)
        mean = (self._quantized_sum / self._count).to(torch.float32)
        products = self._products.div_(self._count)
        cross = products[:, : self._columns].sub_((float_mean - mean)[:, :, None] * mean[:, None, :])
        covariance = products[:, self._columns :].sub_(mean[:, :, None] * mean[:, None, :])
        covariance.diagonal(dim1=1, dim2=2).clamp_min_(0)
        difference = self._difference_square / self._count - (float_mean - mean).square()
        quantized = LayerStatistics(mean, covariance, torch.diagonal(covariance, dim1=1, dim2=2))
        return InputShift(
            float_mean,
            quantized,
            difference.clamp_min(0).to(torch.float32),
            cross,
            independent_samples(self._images, self._count),
            None if self._residual is None else self._residual.result(self._count, mean),
        )


class _ResidualSums:
    """Running sums of the difference r of a residual, of its square, and of its products with x'."""

    def __init__(self, operation: ov.Node, layer: QuantizableLayer) -> None:
        self._sample = output_sampler(operation, layer)
        self._sum = torch.zeros(layer.groups, layer.rows, dtype=torch.float64)
        self._square = torch.zeros_like(self._sum)
        self._products = torch.zeros(layer.groups, layer.rows, layer.columns)

    def add(self, difference: torch.Tensor, quantized: torch.Tensor) -> None:
        sampled = self._sample(difference)
        self._sum += sampled.sum(dim=2, dtype=torch.float64)
        self._square += sampled.square().sum(dim=2, dtype=torch.float64)
        self._products.baddbmm_(sampled, quantized.transpose(1, 2))

    def merge(self, other: _ResidualSums) -> None:
        self._sum += other._sum
        self._square += other._square
        self._products += other._products

    def result(self, count: int, quantized_mean: torch.Tensor) -> ResidualShift:
        """The moments as sampled; the sums are used up."""
        mean = (self._sum / count).to(torch.float32)
        variance = (self._square / count).to(torch.float32) - mean.square()
        cross = self._products.div_(count).sub_(mean[:, :, None] * quantized_mean[:, None, :])
        return ResidualShift(mean, variance.clamp_min(0), cross)


def _pieces(samples: Samples) -> list[Samples]:
    """The samples in `PIECES` parts of nearly the same length, those that are not empty."""
    ends = [len(samples) * number // PIECES for number in range(PIECES + 1)]
    return [samples[start:end] for start, end in itertools.pairwise(ends) if start < end]
