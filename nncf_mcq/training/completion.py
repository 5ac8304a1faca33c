"""From a trained module back to a quantized model, and the result that holds it."""

from __future__ import annotations

import dataclasses

import nncf
import numpy as np
import openvino as ov
import torch
from numpy.typing import NDArray
from openvino import opset13 as opset

from nncf_mcq.config.coding import with_grids
from nncf_mcq.errors import QuantizationError
from nncf_mcq.ir.activations import ActivationGrid
from nncf_mcq.ir.assemble import quantized_weights
from nncf_mcq.ir.float_layers import set_weights
from nncf_mcq.ir.float_weights import find_float_weights
from nncf_mcq.ir.grid_reading import put_grids
from nncf_mcq.ir.packing import is_compressed, with_scale
from nncf_mcq.metrics.report import Report
from nncf_mcq.model.algorithm import ValueRange
from nncf_mcq.model.layers import QuantizableLayer
from nncf_mcq.model.nodes import operations_by_name, source
from nncf_mcq.pipeline.measurement import Evaluate, Measure, with_costs
from nncf_mcq.precision_init.costs import CostModel
from nncf_mcq.result import QuantizationResult, describe_layers
from nncf_mcq.training.module import TrainingModule, parts
from nncf_mcq.training.preparation import float_ports
from nncf_mcq.training.quantizers import ActivationQuantizer, Bias, FloatWeights, LayerWeights, LearnedStep
from nncf_mcq.weights.histograms import weight_histograms
from nncf_mcq.weights.layer_quantizer import QuantizedWeight
from nncf_mcq.weights.weight_table import WeightTable


def finish_training(
    module: TrainingModule,
    *,
    report_dataset: nncf.Dataset | None = None,
    evaluate: Evaluate | Report | None = None,
) -> QuantizationResult:
    """Makes the quantized model of what a module has learned.

    Its outputs are those of the module. `save(directory)` of the result writes and verifies the IR, as after
    `quantize`.

    Args:
        module: Made by `prepare_training`, on any device; not edited, and may be trained further.
        report_dataset: As in `quantize`.
        evaluate: As in `quantize`.

    Returns:
        The result: the policy, the configuration and the search are those before the training; metrics of accuracy are
        measured again, and left out where neither argument is given. What `quantize` tells of clipping rules and
        rounding errors is left out, as it is not true of trained weights.

    Raises:
        QuantizationError: The module is not one of `prepare_training`, or a parameter is not finite.
    """
    if not isinstance(module, TrainingModule):
        raise QuantizationError(
            f"finish_training: found {type(module).__name__}, allowed: the module that prepare_training returned, "
            "without what is wrapped around it"
        )
    check_finite(module)
    before, quantizable = module.source.result, module.source.network.quantizable
    if before is None:
        raise QuantizationError("finish_training: allowed: the module that prepare_training returned")
    policy, config = before.policy, before.config
    table = trained_table(module)
    model = trained_model(module, table)
    floats = find_float_weights(model, quantizable, policy)
    measure = Measure(config.runtime.threads, report_dataset, evaluate, config.outputs)
    measured = measure(before.float_model, model, before.verification_images)
    costs = CostModel(quantizable, policy.activation_bits, None)
    return dataclasses.replace(
        before,
        model=model,
        model_on_grids=None,
        # What it says of trellis-coded weights is not true of trained ones.
        config=with_grids(config),
        metrics=with_costs(measured.metrics, costs, policy, floats),
        layers=describe_layers(quantizable, policy),
        search=before.search.model_copy(update={"details": {**before.search.details, "trained": True}}),
        histograms=weight_histograms(quantizable, policy, table, config.compression.weights),
        float_weights=floats,
        quality=measured.quality,
        verification=None,
    )


def check_finite(module: TrainingModule) -> None:
    """Finds what a training has spoilt.

    Raises:
        QuantizationError: A parameter is not finite; the message names its layer.
    """
    made = module.source
    lists = (
        (module.quantized, made.quantized, "weights"),
        (module.floats, made.floats, "weights"),
        (module.biases, [(name,) for name in made.biases], "bias"),
        (module.activations, made.grids, "activation range"),
    )
    for modules, names, what in lists:
        for part, (name, *_) in zip(modules, names, strict=True):
            # A step may leave the numbers although its logarithm does not.
            steps = [step() for step in part.modules() if isinstance(step, LearnedStep)]
            if not all(bool(torch.isfinite(tensor).all()) for tensor in [*part.parameters(), *steps]):
                raise QuantizationError(f"{name}: after the training its {what} holds values that are not finite")


def trained_table(module: TrainingModule) -> WeightTable:
    """The quantized weights of every layer that has some; what a table tells of errors and rules is left out."""
    entries: dict[str, dict[int, QuantizedWeight]] = {}
    for part, names in zip(parts(module.quantized, LayerWeights), module.source.quantized, strict=True):
        entry = _entry(module.source.network.quantizable.layer(names[0]), part)
        entries |= {name: {entry.bits: entry} for name in names}
    return WeightTable(entries)


def trained_model(module: TrainingModule, table: WeightTable) -> ov.Model:
    """The quantized model with what the module has learned.

    Args:
        module: All of its parameters are finite.
        table: Its weights, see `trained_table`.
    """
    made = module.source
    model = made.network.model.clone()
    operations = operations_by_name(model)
    for names in made.quantized:
        layers = [made.network.quantizable.layer(name) for name in names]
        ((_, entry),) = table.entries[names[0]].items()
        old = source(operations[names[0]], layers[0].weight_ports[0])
        if entry.coding == "trellis":
            # The layers of a model are decoded together: all but the scale stays as it is.
            weights = [with_scale(old, entry.scale.reshape(layers[0].channel_shape()))]
        else:
            weights = quantized_weights(layers[0], entry, compressed=is_compressed(old))
        for layer in layers:
            set_weights(operations[layer.name], layer, weights)
    for part, names in zip(parts(module.floats, FloatWeights), made.floats, strict=True):
        weights = _float_weights(_array(part.weights), part.is_half, operations[names[0]])
        for name in names:
            for port, weight in zip(float_ports(operations[name]), weights, strict=True):
                operations[name].input(port).replace_source_output(weight.output(0))
    for bias, name in zip(parts(module.biases, Bias), made.biases, strict=True):
        operations[name].input(bias.port).replace_source_output(opset.constant(_array(bias.values)).output(0))
    put_grids(
        model,
        {
            name: _grid(quantizer)
            for quantizer, names in zip(parts(module.activations, ActivationQuantizer), made.grids, strict=True)
            for name in names
        },
    )
    return model


def _entry(layer: QuantizableLayer, part: LayerWeights) -> QuantizedWeight:
    matrices, channels = (layer.groups, layer.rows), layer.channel_shape()
    step, low, high = _array(part.step()), *map(_array, part.ends())
    return QuantizedWeight(
        bits=int(part.bits),
        levels=layer.to_matrices(_array(part.levels())).astype(np.uint8),
        zero_point=np.broadcast_to(_array(part.zero_point), channels).reshape(matrices).astype(np.uint8),
        scale=np.broadcast_to(step, channels).reshape(matrices).astype(np.float32),
        bias_shift=np.zeros(matrices, dtype=np.float32),
        relative_error=float("nan"),
        rule="trained",
        rule_counts={},
        rule_errors={},
        choice_error=float("nan"),
        clip=ValueRange(np.minimum(low * step, high * step), np.maximum(low * step, high * step)),
        coding=part.coding,
    )


def _float_weights(weights: NDArray[np.float32], is_half: bool, operation: ov.Node) -> list[ov.Node]:
    sizes = [operation.get_input_shape(port)[-1] for port in float_ports(operation)]
    parts = [weights] if len(sizes) == 1 else np.split(weights, np.cumsum(sizes)[:-1], axis=-1)
    if not is_half:
        return [opset.constant(np.ascontiguousarray(part)) for part in parts]
    return [opset.convert(opset.constant(part.astype(np.float16)), "f32") for part in parts]


def _grid(quantizer: ActivationQuantizer) -> ActivationGrid:
    step, zero_point = (_array(values).astype(np.float64) for values in (quantizer.step(), quantizer.zero_point))
    return ActivationGrid.from_range(-zero_point * step, (quantizer.highest - zero_point) * step, int(quantizer.bits))


def _array(tensor: torch.Tensor) -> NDArray[np.float32]:
    array: NDArray[np.float32] = tensor.detach().cpu().float().numpy()
    return array
