"""From a network that was trained in NNCF 2 to packed IR: its weights, ranges and biases at their true bit-widths."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import nncf
import numpy as np
from nncf.common.composite_compression import CompositeCompressionAlgorithmController
from nncf.common.logging import nncf_logger
from nncf.common.quantization.structs import QuantizerId
from nncf.torch.quantization.algo import QuantizationController
from nncf.torch.quantization.layers import BaseQuantizer
from numpy.typing import NDArray

from nncf_mcq.api import quantize_normalized
from nncf_mcq.config.schema import Config, load_config
from nncf_mcq.errors import QuantizationError
from nncf_mcq.ir.activations import ActivationGrid, grids_at_sums, unify_grids
from nncf_mcq.ir.grid_reading import take_grids
from nncf_mcq.metrics.report import Report
from nncf_mcq.nncf2.alignment import Alignment, align
from nncf_mcq.nncf2.images import Inputs, as_dataset, registered_images
from nncf_mcq.nncf2.network import masked_parameters
from nncf_mcq.nncf2.quantizers import Grid, read_grid, read_levels
from nncf_mcq.nncf2.settings import sample_size
from nncf_mcq.nncf2.start import Start
from nncf_mcq.pipeline.measurement import Evaluate
from nncf_mcq.policy import INT8_BITS
from nncf_mcq.result import QuantizationResult
from nncf_mcq.training.completion import finish_training as finish_module
from nncf_mcq.training.module import QuantizedNetwork, TrainingModule, parts
from nncf_mcq.training.preparation import make_module
from nncf_mcq.training.quantizers import ActivationQuantizer, QuantizedWeights

_IMAGES = 16
"""For the ranges that NNCF 2 does not have, and to verify the file."""

_QUICK_CORRECTION = {"rounding": "nearest", "bias": False, "gain": "none", "sequential": False}
"""The weights are replaced by the trained ones: the work of finding good ones is left out."""


def finish_training(
    controller: Any,
    *,
    report_dataset: nncf.Dataset | None = None,
    evaluate: Evaluate | Report | None = None,
) -> QuantizationResult:
    """Makes the quantized OpenVINO model of a network that was compressed and trained in NNCF 2.

    The network may be of any quantization of NNCF 2 with 2 to 8 bits, whether its bits and ranges came from this
    package or not.

    Args:
        controller: What `create_compressed_model` returned beside the network.
        report_dataset: As in `nncf_mcq.quantize`.
        evaluate: As in `nncf_mcq.quantize`.

    Returns:
        The result: `save(directory)` writes the IR and verifies it, as after `nncf_mcq.quantize`.

    Raises:
        QuantizationError: It is no controller of a quantization, or what was trained is not finite.
        ConfigError: No images are registered.
    """
    controller = _quantization_of(controller)
    network = controller.model
    start: Start | None = getattr(controller, "start", None)
    settings = start.result.config if start is not None else getattr(controller, "settings", load_config({}))
    images = registered_images(controller.config, _IMAGES)
    weights = {key.target_node_name: info.quantizer_module_ref for key, info in controller.weight_quantizers.items()}
    activations = {key: info.quantizer_module_ref for key, info in controller.non_weight_quantizers.items()}
    per_channel = any(quantizer.per_channel for quantizer in activations.values())
    size = sample_size(controller.config, images)
    with masked_parameters(network):
        alignment = align(network, list(weights), activations, images, size, per_channel)
        frame = _frame(alignment, settings, images, weights, activations)
        module = make_module(QuantizedNetwork.of(frame), frame)
        _put_weights(module, alignment, weights)
        _put_grids(module, alignment, activations)
    trained = finish_module(module, report_dataset=report_dataset, evaluate=evaluate)
    if start is None:
        return trained
    search = start.result.search
    details = {**search.details, "trained": True, "host": "NNCF 2"}
    return dataclasses.replace(trained, search=search.model_copy(update={"details": details}))


def _quantization_of(controller: Any) -> QuantizationController:
    """The controller of the quantization, which may be one of several."""
    found = controller.child_ctrls if isinstance(controller, CompositeCompressionAlgorithmController) else [controller]
    for item in found:
        if isinstance(item, QuantizationController):
            return item
    raise QuantizationError(
        f"finish_training: found {type(controller).__name__}, allowed: the controller of a quantization, the first of "
        "the two that create_compressed_model returns"
    )


def _frame(
    alignment: Alignment,
    settings: Config,
    images: Sequence[Inputs],
    weights: Mapping[str, BaseQuantizer],
    activations: Mapping[QuantizerId, BaseQuantizer],
) -> QuantizationResult:
    """A quantization of the trained network with the bits of its quantizers, whose numbers are still to be replaced."""
    quantizable = alignment.quantizable
    policy = alignment.policy(
        {operation: int(quantizer.num_bits) for operation, quantizer in weights.items()},
        {identifier: int(quantizer.num_bits) for identifier, quantizer in activations.items()},
    )
    ignored = alignment.unmatched_layers
    if ignored:
        nncf_logger.info(f"nncf_mcq: layers in floating point, as NNCF 2 does not quantize them: {', '.join(ignored)}")
    quick = settings.to_dict()["compression"]
    quick["ignored_scopes"] = ignored
    quick.pop("tuning", None)
    quick["correction"] |= _QUICK_CORRECTION
    quick["initializer"] |= {"range": {"type": "max"}, "precision": alignment.manual_precision(policy)}
    result = quantize_normalized(quantizable.model, as_dataset(images), load_config({"compression": quick}))
    return dataclasses.replace(result, config=settings)


def _put_weights(module: TrainingModule, alignment: Alignment, quantizers: Mapping[str, BaseQuantizer]) -> None:
    """Replaces the levels, steps and zero points of all layers by the trained ones."""
    for part, (name, *_) in zip(parts(module.quantized, QuantizedWeights), module.source.quantized, strict=True):
        layer = alignment.quantizable.layer(name)
        operation = alignment.modules[layer.group]
        trained, quantizer = alignment.weights[operation], quantizers[operation]
        grid = read_grid(quantizer)
        levels = trained.rows(read_levels(quantizer, grid, trained.weights))
        rows = len(levels)
        step, zero_point = (np.broadcast_to(values.reshape(-1), (rows,)) for values in (grid.step, grid.zero_point))
        grid, levels = _for_kernels(dataclasses.replace(grid, step=step, zero_point=zero_point), levels)
        factors = alignment.factors(layer.group)
        # A channel that is multiplied by 0 has no weights left.
        dead = factors == 0
        folded = grid.scaled(np.where(dead, 1.0, factors))
        matrices = np.where(dead[:, None], folded.zero_point[:, None], grid.turned(levels, factors))
        values = layer.from_matrices(matrices.reshape(layer.groups, layer.rows, layer.columns))
        shape = layer.channel_shape()
        part.set_levels(
            values, folded.zero_point.reshape(shape), folded.step.reshape(shape), folded.lowest, folded.highest
        )


def _for_kernels(grid: Grid, levels: NDArray[np.float64]) -> tuple[Grid, NDArray[np.float64]]:
    """Weights on a grid that the int8 kernels take: at 8 bits only one that is symmetric around zero."""
    middle = 2 ** (grid.bits - 1)
    if grid.bits < INT8_BITS:
        return dataclasses.replace(grid, lowest=0, highest=2**grid.bits - 1), levels
    if grid.lowest >= 1 and bool((grid.zero_point == middle).all()):
        return dataclasses.replace(grid, lowest=1, highest=2 * middle - 1), levels
    values = (levels - grid.zero_point[:, None]) * grid.step[:, None]
    step = np.maximum(np.abs(values).max(axis=1), np.finfo(np.float32).tiny) / (middle - 1)
    symmetric = Grid(step, np.full_like(step, middle), grid.bits, 1, 2 * middle - 1)
    return symmetric, np.clip(np.rint(values / step[:, None]) + middle, 1, 2 * middle - 1)


def _put_grids(module: TrainingModule, alignment: Alignment, quantizers: Mapping[QuantizerId, BaseQuantizer]) -> None:
    """Replaces the grids of all activations that NNCF 2 quantizes by the trained ones."""
    points = {point.fake_quantize_name: point.name for point in alignment.quantizable.activation_points}
    model = module.source.network.model.clone()
    take_grids(model, [name for names in module.source.grids for name in names])
    sums = grids_at_sums(model)
    for part, names in zip(parts(module.activations, ActivationQuantizer), module.source.grids, strict=True):
        identifiers = {alignment.activations[points[name]] for name in names if points[name] in alignment.activations}
        if not identifiers:
            nncf_logger.info(f"nncf_mcq: {', '.join(names)}: NNCF 2 does not quantize it, its range is that of images")
            continue
        trained = [read_grid(quantizers[identifier]) for identifier in identifiers]
        grids = [_with_bits(grid, int(part.bits)) for grid in trained]
        grid = grids[0] if len(grids) == 1 else unify_grids(grids)
        if grid.signed and not grid.symmetric and sums.intersection(names):
            largest = float(max(-grid.low.min(), grid.high.max()))
            grid = ActivationGrid.from_thresholds(-largest, largest, grid.bits)
        part.set_grid(grid.step.astype(np.float32), grid.zero_point)


def _with_bits(grid: Grid, bits: int) -> ActivationGrid:
    """A trained grid at the bits that it has in the OpenVINO model, which may be more: then its range is kept."""
    low, high = (np.squeeze(values) if values.size == 1 else values for values in (grid.low, grid.high))
    if bits == grid.bits:
        return ActivationGrid.from_range(low, high, bits)
    top = 2**bits - 1
    zero_point = np.rint(-low / (high - low) * top)
    step = np.maximum(-low / np.maximum(zero_point, 1), high / np.maximum(top - zero_point, 1))
    return ActivationGrid.from_range(-zero_point * step, (top - zero_point) * step, bits)
