"""The model with its activation quantizers in place: what every policy of equal activation bits shares."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np
import openvino as ov
from openvino import opset13 as opset

from nncf_mcq.errors import QuantizationError
from nncf_mcq.ir.activations import ActivationGrid, concat_groups, grids_at_sums, set_activation_grids
from nncf_mcq.ir.float_layers import read_unquantized, store_as_half
from nncf_mcq.model.algorithm import (
    ActivationPoint,
    MixedClippingQuantization,
    ValueRange,
    quiet_nncf,
    run_pipeline,
)
from nncf_mcq.model.half_precision import keep_halves
from nncf_mcq.model.layer_forms import STATE_PORTS
from nncf_mcq.model.layers import QuantizableModel
from nncf_mcq.model.nodes import operations_by_name
from nncf_mcq.policy import INT8_BITS, Policy


def place_activation_quantizers(quantizable: QuantizableModel) -> ov.Model:
    """Runs the NNCF algorithm for the activations.

    What no int8 kernel reads is not quantized: the inputs of layers without one, and initial states. Weights that stay
    float are stored in half the bytes, see `store_as_half`.

    Args:
        quantizable: The float model; not edited.

    Returns:
        A copy with a FakeQuantize at every activation point, whose ranges are placeholders. Other constants are stored
        in half precision where the model's weights came so.
    """
    placeholder = ValueRange(np.array(-1, dtype=np.float32), np.array(1, dtype=np.float32))
    algorithm = MixedClippingQuantization(
        Policy({}), default_range=placeholder, ignored_scope=quantizable.ignored_scope
    )
    with quiet_nncf():
        model = run_pipeline(algorithm, quantizable.model.clone())
    kept = {point.fake_quantize_name for point in quantizable.activation_points}
    for node in model.get_ops():
        # Weights are put in their places later.
        if node.get_type_name() == "FakeQuantize" and node.get_friendly_name() not in kept:
            node.output(0).replace(node.input_value(0))
    operations = operations_by_name(model)
    for point in quantizable.activation_points:
        if point.fake_quantize_name not in operations:
            _quantize_output(operations[point.location], point, placeholder)
    for layer in quantizable.layers:
        if not layer.integer_kernel:
            read_unquantized(operations[layer.name], layer.data_port)
    keep_halves(model, quantizable.model)
    store_as_half(model, {layer.name for layer in quantizable.layers})
    model.validate_nodes_and_infer_types()
    return model


def _quantize_output(operation: ov.Node, point: ActivationPoint, value_range: ValueRange) -> None:
    """One FakeQuantize behind an output, where NNCF puts one before each reader, of all outputs of the operation."""
    value = operation.output(point.output_port)
    readers = list(value.get_target_inputs())
    ends = [opset.constant(end) for end in (value_range.low, value_range.high)]
    quantizer = opset.fake_quantize(value, *ends, *ends, 2**INT8_BITS, name=point.fake_quantize_name)
    for reader in readers:
        node = reader.get_node()
        if reader.get_index() not in STATE_PORTS.get(node.get_type_name(), ()) and node.get_type_name() != "Result":
            reader.replace_source_output(quantizer.output(0))


def shared_grids(fake_quantized: ov.Model, points: Iterable[ActivationPoint]) -> tuple[tuple[str, ...], ...]:
    """Names of activation points that `build_template` gives one grid, whatever their widths: see `concat_groups`.

    Args:
        fake_quantized: What `place_activation_quantizers` made.
        points: All activation points.
    """
    names = {point.fake_quantize_name: point.name for point in points}
    groups = ([node.get_friendly_name() for node in group] for group in concat_groups(fake_quantized))
    found = (tuple(names[name] for name in group if name in names) for group in groups)
    return tuple(group for group in found if len(group) > 1)


def asymmetric_points(fake_quantized: ov.Model, points: Iterable[ActivationPoint]) -> frozenset[str]:
    """Names of activation points whose grid may have a zero point of its own: see `grids_at_sums`.

    Args:
        fake_quantized: What `place_activation_quantizers` made.
        points: All activation points.
    """
    at_sums = grids_at_sums(fake_quantized)
    return frozenset(point.name for point in points if point.fake_quantize_name not in at_sums)


def build_template(
    fake_quantized: ov.Model,
    points: Iterable[ActivationPoint],
    activation_ranges: Mapping[str, ValueRange],
    activation_bits: Mapping[str, int],
) -> ov.Model:
    """Puts exact grids in the place of NNCF's FakeQuantize nodes.

    Args:
        fake_quantized: What `place_activation_quantizers` made; not edited.
        points: All activation points.
        activation_ranges: Range of every activation point.
        activation_bits: Width of every activation point.

    Returns:
        The model with quantized activations; its weights are placeholders until `assemble` replaces them.

    Raises:
        QuantizationError: A FakeQuantize stands where no activation point is, or the other way round.
    """
    template = fake_quantized.clone()
    found = {node.get_friendly_name() for node in template.get_ops() if node.get_type_name() == "FakeQuantize"}
    grids = {
        point.fake_quantize_name: ActivationGrid.from_thresholds(
            activation_ranges[point.name].low, activation_ranges[point.name].high, activation_bits[point.name]
        )
        for point in points
        if point.name in activation_ranges
    }
    if found != set(grids):
        raise QuantizationError(
            f"activation quantizers: found {sorted(found - set(grids))}, missing {sorted(set(grids) - found)}"
        )
    set_activation_grids(template, grids)
    return template
