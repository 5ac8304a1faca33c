"""The final pass: the weights of one policy once more, each layer for what the quantized layers before it yield."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Mapping

import openvino as ov
import torch

from nncf_mcq.calibration.statistics import MAXIMUM_COLUMNS, LayerStatistics
from nncf_mcq.calibration.unfolding import layer_input
from nncf_mcq.errors import QuantizationError
from nncf_mcq.model.batching import why_not_together
from nncf_mcq.model.cut_values import CutValue, find_cut_values
from nncf_mcq.model.inference import with_batch
from nncf_mcq.model.layers import QuantizableLayer, QuantizableModel, weight_matrices
from nncf_mcq.model.nodes import operations_by_name
from nncf_mcq.model.samples import AnySamples, as_samples
from nncf_mcq.policy import FLOAT_CHOICE, Policy
from nncf_mcq.utils.torch_threads import TorchPool
from nncf_mcq.weights.input_shift import (
    PIECES,
    InputShift,
    Network,
    ObservedShift,
    find_layer_residual,
    observe_shift,
)
from nncf_mcq.weights.layer_quantizer import LayerQuantizer, QuantizedWeight
from nncf_mcq.weights.moments import output_variance
from nncf_mcq.weights.regression import find_regression, regressed_weights
from nncf_mcq.weights.scheme import WeightScheme
from nncf_mcq.weights.weight_table import WeightTable

_BATCH_SIZE = 8


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
    without it the energy of the signal is lost layer by layer. Where something is added to the output of a layer, a
    residual connection above all, the error that this brings counts as the layer's own. Layers that share their
    weights, embeddings, batches of matrices, and those whose covariance would be too large to keep, stay as they are in
    the table.

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
    Calibration", ICML 2025, and the sequential reconstruction of Nagel et al. (AdaRound), ICML 2020. How far weights
    are moved, the errors of residuals, and keeping the variance of the float output, are our own.
    """
    float_model = quantizable.model
    operations = operations_by_name(float_model)
    shared = {layer.name for members in quantizable.groups.values() if len(members) > 1 for layer in members}

    def quantize(item: tuple[QuantizableLayer, ObservedShift]) -> QuantizedWeight:
        layer, observed = item
        weights, shift = torch.from_numpy(weight_matrices(layer, operations[layer.name])), observed.shift
        quantizer = LayerQuantizer(
            layer,
            regressed_weights(weights, shift, find_regression(weights, observed.halves)),
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
                observed = observe_shift(layer, networks, pool, threads, batch_size)
                (entry,) = pool.map(quantize, [(layer, observed)])
                table = table.with_entries({layer.name: entry})
            progress()
    return table


def _is_observed(layer: QuantizableLayer) -> bool:
    """Whether the inputs of a layer can be compared image by image, and their covariance can be kept."""
    is_batch = layer.kind == "matmul" and layer.groups > 1
    return layer.kind != "embedding" and not is_batch and layer.columns <= MAXIMUM_COLUMNS


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
    size = min(_BATCH_SIZE, -(-len(samples) // PIECES))
    if size == 1:
        return 1
    copy = quantizable.model.clone()
    operations = operations_by_name(copy)
    values = {layer_input(operations[layer.name], layer) for layer in quantizable.layers}
    values |= {cut.of(copy) for cut in cuts}
    residuals = (find_layer_residual(operations[layer.name], layer) for layer in quantizable.layers)
    values |= {residual.of(copy) for residual in residuals if residual is not None}
    results = [ov.opset13.result(value) for value in values if value is not None]
    observed = ov.Model(results, copy.get_parameters(), "observed")
    try:
        with_batch(observed, size)
    except QuantizationError:
        return 1
    # Two: what all layers get for more of them at a time may not fit into memory.
    return 1 if why_not_together(observed, samples[:2], threads) else size


def _with_bias(entry: QuantizedWeight, weights: torch.Tensor, shift: InputShift, correct: bool) -> QuantizedWeight:
    """The entry with the bias that keeps the mean of the float network's output, or of its sum with a residual."""
    if not correct:
        return entry
    wanted = torch.einsum("grc,gc->gr", weights, shift.float_mean)
    if shift.residual is not None:
        wanted += shift.residual.mean
    return entry.with_bias(lambda values: wanted - torch.einsum("grc,gc->gr", values, shift.quantized.mean))
