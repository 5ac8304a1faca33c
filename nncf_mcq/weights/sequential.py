"""The final pass: the weights of one policy once more, each layer for what the quantized layers before it yield."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import openvino as ov
import torch

from nncf_mcq.calibration.shrinkage import independent_samples, shrink_covariance, shrink_cross_covariance
from nncf_mcq.calibration.statistics import MAXIMUM_COLUMNS, LayerStatistics
from nncf_mcq.calibration.unfolding import layer_input, unfolder
from nncf_mcq.errors import QuantizationError
from nncf_mcq.model.batching import why_not_together
from nncf_mcq.model.cut_values import CutValue, find_cut_values, part_from
from nncf_mcq.model.inference import compile_model, with_batch
from nncf_mcq.model.layers import QuantizableLayer, QuantizableModel, weight_matrices
from nncf_mcq.model.nodes import operations_by_name
from nncf_mcq.model.runner import ModelRunner
from nncf_mcq.model.samples import AnySamples, Samples, as_samples
from nncf_mcq.policy import FLOAT_CHOICE, Policy
from nncf_mcq.utils.torch_threads import TorchPool
from nncf_mcq.weights.layer_quantizer import LayerQuantizer, QuantizedWeight
from nncf_mcq.weights.moments import output_variance
from nncf_mcq.weights.scheme import WeightScheme
from nncf_mcq.weights.weight_table import WeightTable

REGRESSION_STRENGTH = 0.5
"""Share of the regression onto the quantized inputs that is applied: it is estimated from few images."""

REGRESSION_DAMPING = 0.1
"""Added to the diagonal of the inputs' covariance, relative to its mean."""

_BATCH_SIZE = 8
_PIECES = 4
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

    def compile_until(self, value: Callable[[ov.Model], ov.Output], batch_size: int, threads: int) -> ov.CompiledModel:
        """What computes a value of the model from the samples.

        Args:
            value: Finds it in a copy of the model, to which it may add operations.
            batch_size: Samples per inference.
            threads: Inference threads.
        """
        copy = self.model.clone()
        return compile_model(with_batch(part_from(copy, self.cut, value(copy)), batch_size), threads)

    def advanced(self, cut: CutValue | None, pool: TorchPool, batch_size: int, threads: int) -> Network:
        """The same network, run up to a later value; itself where that would take too much memory.

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
        compiled = self.compile_until(cut.of, batch_size, threads)
        found = pool.map(
            lambda piece: ModelRunner(compiled, batch_size=batch_size)(piece.arrays)[0], _pieces(self.samples)
        )
        values = np.concatenate(list(found)).reshape(count, *shape.to_shape()[int(shape[0] == 1) :])
        return Network(self.model, Samples(values), cut)


@dataclass(frozen=True)
class InputShift:
    """How a layer's inputs in the quantized network differ from those in the float network.

    Attributes:
        float_mean: (groups, columns) mean of the float network's inputs.
        quantized: Moments of the quantized network's inputs.
        cross: (groups, columns, columns) covariance of float minus quantized inputs with the quantized ones.
    """

    float_mean: torch.Tensor
    quantized: LayerStatistics
    cross: torch.Tensor


def requantize_sequentially(
    quantizable: QuantizableModel,
    build: Callable[[WeightTable], ov.Model],
    policy: Policy,
    table: WeightTable,
    images: AnySamples,
    statistics: Mapping[str, LayerStatistics],
    scheme: WeightScheme,
    *,
    fisher: Mapping[str, torch.Tensor] | None = None,
    threads: int,
    progress: Callable[[], None] = lambda: None,
) -> WeightTable:
    """Quantizes the layers in topological order, each to yield the float output from the quantized inputs that it gets.

    The weights that a layer is rounded to are first moved by the regression of the float inputs on the quantized ones;
    without it the energy of the signal is lost layer by layer. Layers that share their weights, embeddings, batches of
    matrices, and those whose covariance would be too large to keep, stay as they are in the table.

    Args:
        quantizable: The float model and its layers.
        build: Makes the quantized model of the policy from a table.
        policy: Bits of every layer.
        table: What the pass starts from.
        images: The calibration samples.
        statistics: Moments of each layer's input in the float network.
        scheme: How weights are quantized.
        fisher: Fisher information of each layer's weights, for the rules that need it.
        threads: Inference and PyTorch threads.
        progress: Called after each layer.

    Returns:
        The table with the policy's entries replaced.

    Source: the asymmetric calibration of Li et al., "GPTAQ: Efficient Finetuning-Free Quantization for Asymmetric
    Calibration", ICML 2025, and the sequential reconstruction of Nagel et al. (AdaRound), ICML 2020. Damping the
    regression, and keeping the variance of the float output, are our own.
    """
    float_model = quantizable.model
    operations = operations_by_name(float_model)
    shared = {layer.name for members in quantizable.groups.values() if len(members) > 1 for layer in members}

    def quantize(item: tuple[QuantizableLayer, InputShift]) -> QuantizedWeight:
        layer, shift = item
        weights = weight_matrices(layer, operations[layer.name])
        quantizer = LayerQuantizer(
            layer,
            regressed_weights(weights, shift),
            shift.quantized,
            scheme,
            fisher=None if fisher is None else fisher[layer.name],
            variance=output_variance(weights, statistics[layer.name]),
        )
        entry = quantizer.quantize(policy.weight_bits[layer.name])
        return _with_bias(entry, weights, shift, scheme.correction.bias)

    cuts = find_cut_values(float_model, [layer.name for layer in quantizable.layers])
    batch_size = shared_batch_size(quantizable, images, threads, cuts.values())
    networks = [Network(float_model, as_samples(images))] * 2
    with TorchPool(threads) as pool:
        for layer in quantizable.layers:
            is_quantized = policy.weight_bits[layer.name] != FLOAT_CHOICE
            if is_quantized and layer.name not in shared and _is_observed(layer):
                # What comes before the cut has its final weights: all layers there were visited.
                networks = [
                    dataclasses.replace(network, model=model).advanced(cuts.get(layer.name), pool, batch_size, threads)
                    for network, model in zip(networks, (float_model, build(table)), strict=True)
                ]
                shift = observe_shift(layer, networks, pool, threads, batch_size)
                (entry,) = pool.map(quantize, [(layer, shift)])
                table = table.with_entries({layer.name: entry})
            progress()
    return table


def _is_observed(layer: QuantizableLayer) -> bool:
    """Whether the inputs of a layer can be compared image by image, and their covariance can be kept."""
    is_batch = layer.kind == "matmul" and layer.groups > 1
    return layer.kind != "embedding" and not is_batch and layer.columns <= MAXIMUM_COLUMNS


def regressed_weights(weights: torch.Tensor, shift: InputShift) -> torch.Tensor:
    """The weights that bring the output closest to the float output, given the inputs of the quantized network.

    Args:
        weights: (groups, rows, columns) float weights W.
        shift: Moments of both networks' inputs x and x'.

    Returns:
        (groups, rows, columns) `W + strength W Cov(x - x', x') (Cov(x') + damping)^-1`.
    """
    covariance = shift.quantized.covariance
    assert covariance is not None
    level = shift.quantized.variance.mean(dim=1).clamp_min(1e-12)
    damped = covariance.to(torch.float64)
    damped.diagonal(dim1=1, dim2=2).add_((REGRESSION_DAMPING * level)[:, None])
    factor, failed = torch.linalg.cholesky_ex(damped)
    if bool(failed.any()):
        # Not positive definite only by the rounding of float32: there is nothing to regress on.
        return weights
    pulled = torch.bmm(weights.to(torch.float64), shift.cross.to(torch.float64))
    moved = torch.cholesky_solve(pulled.transpose(1, 2), factor).transpose(1, 2)
    return weights + REGRESSION_STRENGTH * moved.to(torch.float32)


def observe_shift(
    layer: QuantizableLayer, networks: Sequence[Network], pool: TorchPool, threads: int, batch_size: int = 1
) -> InputShift:
    """Runs two networks up to a layer and compares what the layer gets.

    Args:
        layer: The layer.
        networks: The float and the quantized network, with the same operation names and the same images.
        pool: Observes pieces of the images side by side.
        threads: Inference threads.
        batch_size: Samples per inference, see `shared_batch_size`.
    """
    operation = operations_by_name(networks[0].model)[layer.name]

    def value(model: ov.Model) -> ov.Output:
        found = layer_input(operations_by_name(model)[layer.name], layer)
        assert found is not None
        return found

    compiled = [network.compile_until(value, batch_size, threads) for network in networks]

    def observe(pieces: tuple[Samples, ...]) -> _ShiftSums:
        sums = _ShiftSums(operation, layer)
        runners = [ModelRunner(item, batch_size=batch_size) for item in compiled]
        # A batch at a time: what a layer gets may be large.
        for start in range(0, len(pieces[0]), batch_size):
            batches = (piece[start : start + batch_size].arrays for piece in pieces)
            inputs = (runner.batches(batch)[0][0] for runner, batch in zip(runners, batches, strict=True))
            sums.add(*map(torch.from_numpy, inputs))
        return sums

    found = pool.map(observe, list(zip(*(_pieces(network.samples) for network in networks), strict=True)))
    sums = next(found)
    for other in found:
        sums.merge(other)
        # Before the next one comes: sums are large.
        del other
    return sums.result(len(networks[0].samples))


class _ShiftSums:
    """Running sums of the inputs x of the float and x' of the quantized network, and of their products."""

    def __init__(self, operation: ov.Node, layer: QuantizableLayer) -> None:
        # One for each network: they sample the same positions as long as they see the same number of images.
        self._unfold_float, self._unfold_quantized = unfolder(operation, layer), unfolder(operation, layer)
        self._count = 0
        columns = layer.columns
        self._float_sum = torch.zeros(layer.groups, columns, dtype=torch.float64)
        self._quantized_sum = torch.zeros_like(self._float_sum)
        self._difference_square = torch.zeros_like(self._float_sum)
        self._products = torch.zeros(layer.groups, 2 * columns, columns)
        self._columns = columns

    def add(self, float_input: torch.Tensor, quantized_input: torch.Tensor) -> None:
        # One image at a time: its patches fit into the cache.
        for index in range(len(float_input)):
            self._add_image(float_input[index : index + 1], quantized_input[index : index + 1])

    def _add_image(self, float_input: torch.Tensor, quantized_input: torch.Tensor) -> None:
        x, quantized = self._unfold_float(float_input), self._unfold_quantized(quantized_input)
        self._count += x.shape[2]
        self._float_sum += x.sum(dim=2, dtype=torch.float64)
        self._quantized_sum += quantized.sum(dim=2, dtype=torch.float64)
        difference = x - quantized
        self._difference_square += difference.square().sum(dim=2, dtype=torch.float64)
        self._products.baddbmm_(torch.cat([difference, quantized], dim=1), quantized.transpose(1, 2))

    def merge(self, other: _ShiftSums) -> None:
        self._count += other._count
        self._float_sum += other._float_sum
        self._quantized_sum += other._quantized_sum
        self._difference_square += other._difference_square
        self._products += other._products

    def result(self, images: int) -> InputShift:
        """The moments; the sums are used up."""
        float_mean = (self._float_sum / self._count).to(torch.float32)
        mean = (self._quantized_sum / self._count).to(torch.float32)
        products = self._products.div_(self._count)
        cross = products[:, : self._columns].sub_((float_mean - mean)[:, :, None] * mean[:, None, :])
        covariance = products[:, self._columns :].sub_(mean[:, :, None] * mean[:, None, :])
        covariance.diagonal(dim1=1, dim2=2).clamp_min_(0)
        samples = independent_samples(images, self._count)
        covariance = shrink_covariance(covariance, samples)
        variance = torch.diagonal(covariance, dim1=1, dim2=2)
        difference = self._difference_square / self._count - (float_mean - mean).square()
        cross = shrink_cross_covariance(cross, difference.clamp_min(0).to(torch.float32), variance, samples)
        return InputShift(float_mean, LayerStatistics(mean, covariance, variance), cross)


def shared_batch_size(
    quantizable: QuantizableModel, images: AnySamples, threads: int, cuts: Iterable[CutValue] = ()
) -> int:
    """Number of samples that the inferences of the pass may share: 1 where what any layer gets depends on the others.

    Args:
        quantizable: The float model and its layers.
        images: The samples.
        threads: Inference threads.
        cuts: Further values that must not depend on the others.
    """
    samples = as_samples(images)
    size = min(_BATCH_SIZE, -(-len(samples) // _PIECES))
    if size == 1:
        return 1
    copy = quantizable.model.clone()
    operations = operations_by_name(copy)
    inputs = {layer_input(operations[layer.name], layer) for layer in quantizable.layers}
    inputs |= {cut.of(copy) for cut in cuts}
    results = [ov.opset13.result(value) for value in inputs if value is not None]
    observed = ov.Model(results, copy.get_parameters(), "observed")
    try:
        with_batch(observed, size)
    except QuantizationError:
        return 1
    # Two: what all layers get for more of them at a time may not fit into memory.
    return 1 if why_not_together(observed, samples[:2], threads) else size


def _pieces(samples: Samples) -> list[Samples]:
    """The samples in `_PIECES` parts of nearly the same length, those that are not empty."""
    ends = [len(samples) * number // _PIECES for number in range(_PIECES + 1)]
    return [samples[start:end] for start, end in itertools.pairwise(ends) if start < end]


def _with_bias(entry: QuantizedWeight, weights: torch.Tensor, shift: InputShift, correct: bool) -> QuantizedWeight:
    """The entry with the bias that keeps the mean of the float network's output."""
    if not correct:
        return entry
    float_mean = torch.einsum("grc,gc->gr", weights, shift.float_mean)
    return entry.with_bias(lambda values: float_mean - torch.einsum("grc,gc->gr", values, shift.quantized.mean))
