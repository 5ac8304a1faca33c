"""Models whose weights come in half precision: computed in float32, and stored as they came where they stay float."""

from __future__ import annotations

from typing import Any

import numpy as np
import openvino as ov
from numpy.typing import NDArray
from openvino import opset13 as opset

from nncf_mcq.model.nodes import LAYER_TYPES, consumers


def keep_halves(model: ov.Model, given: ov.Model) -> None:
    """Stores constants of a model in half precision, where the one that it was made from was of half precision.

    Args:
        model: The model; it is edited.
        given: The float model, in its normal form.
    """
    if _has_half_weights(given):
        _store_halves(model)


def with_halves(model: ov.Model) -> ov.Model:
    """A copy that takes as many bytes as what it was read from: one of half precision stays one.

    Args:
        model: A float model in its normal form.
    """
    copy = model.clone()
    keep_halves(copy, model)
    return copy


def _has_half_weights(model: ov.Model) -> bool:
    """Whether all weights are numbers of half precision, as in an IR that `openvino.save_model` compressed.

    Args:
        model: A float model in its normal form.
    """
    layers = [operation for operation in model.get_ops() if operation.get_type_name() in LAYER_TYPES]
    constants = [value.get_node() for layer in layers for value in layer.input_values()]
    weights = [constant.get_data() for constant in constants if constant.get_type_name() == "Constant"]
    return bool(weights) and all(_is_half(values) for values in weights)


def _store_halves(model: ov.Model) -> None:
    """Stores float32 constants in half precision where that changes no value.

    Args:
        model: The model; it is edited.
    """
    for constant in model.get_ordered_ops():
        if constant.get_type_name() != "Constant" or constant.get_element_type() != ov.Type.f32:
            continue
        if constant.get_data().size < 2 or not _is_half(constant.get_data()):
            continue
        if any(reader.get_type_name() == "FakeQuantize" for reader, _ in consumers(constant.output(0))):
            continue
        stored = opset.constant(constant.get_data().astype(np.float16))
        stored.set_friendly_name(f"{constant.get_friendly_name()}/f16")
        converted = opset.convert(stored, "f32")
        constant.output(0).replace(converted.output(0))
        converted.set_friendly_name(constant.get_friendly_name())
    model.validate_nodes_and_infer_types()


def _is_half(values: NDArray[Any]) -> bool:
    with np.errstate(over="ignore"):
        return np.array_equal(values.astype(np.float16).astype(np.float32), values)
