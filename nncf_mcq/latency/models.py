"""Models that take as long as those of policies, made without calibration."""

from __future__ import annotations

from collections.abc import Collection, Iterable

import numpy as np
import openvino as ov
from numpy.typing import NDArray
from openvino import opset13 as opset

from nncf_mcq.calibration.statistics import observed_output
from nncf_mcq.ir.float_layers import float_weight, keep_float
from nncf_mcq.ir.nearest_weights import set_nearest_weights
from nncf_mcq.ir.template import build_template
from nncf_mcq.latency.inputs import random_inputs
from nncf_mcq.model.algorithm import ActivationPoint, ValueRange
from nncf_mcq.model.inference import compile_model
from nncf_mcq.model.layers import QuantizableModel, layer_weight
from nncf_mcq.model.nodes import operations_by_name
from nncf_mcq.policy import INT8_BITS


class LatencyModels:
    """The int8 model, and the same with some layers in floating point.

    Their weights are rounded to nearest and their ranges are those of one random input: kernels take as long whatever
    the values, but not whatever the sign of an activation is.

    Args:
        quantizable: The float model and its layers.
        fake_quantized: The same with NNCF's quantizers in their places, see `place_activation_quantizers`.
    """

    def __init__(self, quantizable: QuantizableModel, fake_quantized: ov.Model) -> None:
        self.quantizable = quantizable
        self._operations = operations_by_name(quantizable.model)
        bits = {point.name: INT8_BITS for point in quantizable.activation_points}
        template = build_template(fake_quantized, quantizable.activation_points, self._ranges(), bits)
        self._int8 = set_nearest_weights(template, quantizable)

    def build(self, float_groups: Collection[str] = ()) -> ov.Model:
        """The model with these groups of layers in floating point.

        Args:
            float_groups: Names of groups.
        """
        model = self._int8.clone()
        operations = operations_by_name(model)
        groups = self.quantizable.groups
        for name in float_groups:
            first = groups[name][0]
            weight = layer_weight(first, self._operations[first.name])
            weights = [float_weight(part) for part in first.split(weight)]
            for layer in groups[name]:
                keep_float(operations[layer.name], layer, weights)
        model.validate_nodes_and_infer_types()
        return model

    def _ranges(self) -> dict[str, ValueRange]:
        points = self.quantizable.activation_points
        copy = self.quantizable.model.clone()
        operations = operations_by_name(copy)
        results = [opset.result(observed_output(operations, point)) for point in points]
        compiled = compile_model(ov.Model(results, copy.get_parameters(), "ranges"), threads=1)
        found = compiled(random_inputs(copy.inputs))
        ranges = {point.name: _range(found[index], point) for index, point in enumerate(points)}
        for names in self.quantizable.unified_scales:
            ranges |= dict.fromkeys(names, _union(ranges[name] for name in names))
        return ranges


def _range(values: NDArray[np.float32], point: ActivationPoint) -> ValueRange:
    axes = tuple(axis for axis in range(values.ndim) if axis != 1) if point.per_channel else None
    high = np.maximum(np.abs(values).max(axis=axes, keepdims=point.per_channel), 1e-3).astype(np.float32)
    # One sign for all channels, as NNCF has it.
    return ValueRange(-high if (values < 0).any() else np.zeros_like(high), high)


def _union(ranges: Iterable[ValueRange]) -> ValueRange:
    known = list(ranges)
    low, high = min(item.low.min() for item in known), max(item.high.max() for item in known)
    return ValueRange(np.array(low, dtype=np.float32), np.array(high, dtype=np.float32))
