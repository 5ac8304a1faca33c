"""An interpreter of OpenVINO graphs in float64, written from the operations' specification.

With steps and scales that are powers of two all sums of the small networks here are exact in float32 and in float64, so
whatever executes the same graph must give the same numbers, bit for bit.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import openvino as ov
import torch
import torch.nn.functional as F

TYPES = {"f32": torch.float64, "i8": torch.int8, "i32": torch.int32, "boolean": torch.bool}


def interpret(model: ov.Model, data: np.ndarray, values: dict[str, torch.Tensor] | None = None) -> list[np.ndarray]:
    """All outputs of a model with one input, in float64; `values` of nodes that are known are not computed again."""
    values = {} if values is None else values
    for node in model.get_ordered_ops():
        if node.get_name() in values:
            continue
        operands = [values[value.get_node().get_name()] for value in node.input_values()]
        kind = node.get_type_name()
        if kind == "Result":
            values[node.get_name()] = operands[0]
        elif kind == "Parameter":
            values[node.get_name()] = torch.from_numpy(np.asarray(data, dtype=np.float64))
        else:
            values[node.get_name()] = _execute(kind, node, node.get_attributes(), operands)
    return [values[result.get_name()].numpy() for result in model.get_results()]


def _execute(kind: str, node: ov.Node, attributes: dict[str, Any], operands: list[torch.Tensor]) -> torch.Tensor:
    if kind == "Constant":
        if node.get_element_type() == ov.Type.f32:
            return torch.from_numpy(np.array(node.get_data(), dtype=np.float64))
        return torch.from_numpy(np.array(node.get_data(dtype=np.int64)))
    if kind == "Convert":
        return operands[0].to(TYPES[attributes["destination_type"]])
    if kind in ("Add", "Subtract", "Multiply"):
        first, second = operands
        return first + second if kind == "Add" else first - second if kind == "Subtract" else first * second
    if kind == "Relu":
        return operands[0].relu()
    if kind == "Clamp":
        return operands[0].clamp(attributes["min"], attributes["max"])
    if kind == "FakeQuantize":
        data, low, high, output_low, output_high = operands
        intervals = attributes["levels"] - 1
        level = torch.round((data - low) / (high - low) * intervals).clamp(0, intervals)
        return level / intervals * (output_high - output_low) + output_low
    if kind in ("Convolution", "GroupConvolution"):
        data, weight = operands
        groups = weight.shape[0] if kind == "GroupConvolution" else 1
        weight = weight.reshape(-1, *weight.shape[2:]) if kind == "GroupConvolution" else weight
        assert list(attributes["pads_begin"]) == list(attributes["pads_end"])
        return F.conv2d(
            data,
            weight,
            stride=list(attributes["strides"]),
            padding=list(attributes["pads_begin"]),
            dilation=list(attributes["dilations"]),
            groups=groups,
        )
    if kind == "MatMul":
        return operands[0] @ (operands[1].T if attributes["transpose_b"] else operands[1])
    if kind == "MaxPool":
        return F.max_pool2d(
            operands[0], list(attributes["kernel"]), list(attributes["strides"]), list(attributes["pads_begin"])
        )
    if kind == "ReduceMean":
        return operands[0].mean(dim=tuple(operands[1].tolist()), keepdim=attributes["keep_dims"])
    if kind == "Interpolate":
        # As PyTorch does.
        assert (attributes["mode"], attributes["coordinate_transformation_mode"]) == ("nearest", "asymmetric")
        return F.interpolate(operands[0], tuple(node.get_output_shape(0)[2:]), mode="nearest")
    if kind == "Concat":
        return torch.cat(operands, dim=attributes["axis"])
    if kind == "Reshape":
        return operands[0].reshape(list(node.get_output_shape(0)))
    raise NotImplementedError(kind)
