"""One form for every model: float32, folded, unambiguous names, and read back from a file before anything looks at it.

What a frontend leaves in memory is not what a file of it holds: attributes that steer the CPU plugin are not written,
and what the frontends of ONNX and TensorFlow Lite compute from constants is not folded. Statistics, scores and the
shipped file would then be of different models.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory, gettempdir
from typing import Final

import numpy as np
import openvino as ov
from openvino import opset13 as opset
from openvino._offline_transformations import apply_fused_names_cleanup, apply_moc_transformations

from nncf_mcq.errors import ConfigError, QuantizationError, reason_of
from nncf_mcq.model.equal_constants import share_equal_weights
from nncf_mcq.model.inference import core
from nncf_mcq.model.int8_forms import use_int8_forms
from nncf_mcq.model.nodes import LAYER_TYPES
from nncf_mcq.model.operation_names import (
    GivenName,
    given_names,
    make_names_unique,
    name_layers,
    number_others,
    restore_names,
)
from nncf_mcq.model.softmax_forms import use_softmax

_HALF_TYPES: Final = ("f16", "bf16")
_DOUBLE_TYPE: Final = "f64"

_QUANTIZERS: Final = frozenset({"FakeQuantize", "FakeConvert"})
_SMALL_FLOATS: Final = frozenset({"f8e4m3", "f8e5m2", "f8e8m0", "f4e2m1", "nf4"})

_DEQUANTIZATION: Final = frozenset({"Convert", "Subtract", "Multiply", "Reshape", "Transpose", "Squeeze", "Unsqueeze"})
"""What stands between integer weights and the layer that reads them."""


def refuse_quantized(model: ov.Model) -> None:
    """Raises for a model that is quantized already, wholly or in part.

    Args:
        model: The model as it was given.

    Raises:
        QuantizationError: It holds quantizers, or layers whose weights are integers; names the first.
    """
    for operation in model.get_ordered_ops():
        found = None
        if operation.get_type_name() in _QUANTIZERS:
            found = f"a {operation.get_type_name()}"
        elif operation.get_type_name() in LAYER_TYPES:
            found = next(
                (f"{stored} weights" for stored in map(_stored_type, operation.input_values()) if stored), None
            )
        if found is not None:
            raise QuantizationError(
                f"{operation.get_friendly_name()}: the model is quantized already ({found}): give the float model that "
                "it was made from, with images; the weights or biases of this one were changed to suit its quantizers"
            )


def to_normal_form(model: ov.Model, shapes: Mapping[int, ov.PartialShape]) -> ov.Model:
    """The normal form of a float model for one static shape of each input.

    What depends on the shape of the input is not folded, so that the model can be reshaped as before.

    Args:
        model: A float model; it is edited.
        shapes: Number of each input to its static shape.

    Returns:
        Another model, as it was read from a file.

    Raises:
        ConfigError: The model does not accept the shape.
        QuantizationError: The model cannot be computed in float32, or cannot be written and read.
    """
    _compute_in_float32(model)
    try:
        model.reshape(dict(shapes))
    except RuntimeError as error:
        allowed = f"a shape that the model accepts ({reason_of(error)})"
        found = [list(shape.to_shape()) for shape in shapes.values()]
        raise ConfigError("input_info.sample_size", found[0] if len(found) == 1 else found, allowed) from error
    # Before OpenVINO does it: it would not let layers keep their names.
    make_names_unique(model)
    given = given_names(model)
    _fold(model, given)
    name_layers(model, given)
    model = share_equal_weights(use_int8_forms(use_softmax(model)))
    read = _round_trip(model)
    number_others(read, given)
    return read


def _stored_type(value: ov.Output) -> str | None:
    """The integer or small float type of the constant that a value is dequantized from; None for others."""
    pending = [value.get_node()]
    while pending:
        node = pending.pop()
        kind = node.get_type_name()
        if kind == "Constant" and _is_quantized_type(node.get_element_type()):
            return str(node.get_element_type().get_type_name())
        if kind in _DEQUANTIZATION:
            pending.extend(source.get_node() for source in node.input_values()[:2])
    return None


def _is_quantized_type(element_type: ov.Type) -> bool:
    if element_type.get_type_name() in _SMALL_FLOATS:
        return True
    return bool(element_type.is_integral_number() and element_type.get_bitwidth() <= 8)


def _compute_in_float32(model: ov.Model) -> None:
    """Makes float32 of half precision, as the plugin does it, and of double precision where layers compute in it."""
    others = set(_HALF_TYPES)
    operations = model.get_ordered_ops()
    if any(
        operation.get_type_name() in (*LAYER_TYPES, "Parameter")
        and operation.get_output_element_type(0).get_type_name() == _DOUBLE_TYPE
        for operation in operations
    ):
        others.add(_DOUBLE_TYPE)
    changed = False
    for operation in operations:
        if operation.get_type_name() == "Constant":
            if operation.get_element_type().get_type_name() in others:
                constant = opset.constant(operation.get_data(dtype=np.float32))
                constant.set_friendly_name(operation.get_friendly_name())
                operation.output(0).replace(constant.output(0))
                changed = True
            continue
        for name, value in operation.get_attributes().items():
            if isinstance(value, str) and value in others:
                operation.set_attribute(name, "f32")
                changed = True
    if changed:
        try:
            model.validate_nodes_and_infer_types()
        except RuntimeError as error:
            raise QuantizationError(f"the model cannot be computed in float32: {reason_of(error)}") from error


def _fold(model: ov.Model, given: Sequence[GivenName]) -> None:
    """Folds constants and operations that other frontends fold as well, as `openvino.convert_model` does."""
    # Constants that follow from the input's shape stay computed: `cf` would fold them too.
    apply_moc_transformations(model, cf=False)
    restore_names(model, given)
    apply_fused_names_cleanup(model)


def _round_trip(model: ov.Model) -> ov.Model:
    with TemporaryDirectory() as folder:
        file = Path(folder) / "model.xml"
        try:
            ov.save_model(model, file, compress_to_fp16=False)
            # Not mapped: the file goes before the model does.
            return core().read_model(file, config={"ENABLE_MMAP": False})
        except (OSError, RuntimeError) as error:
            raise QuantizationError(
                f"the model cannot be written to a file in {gettempdir()} and read back: {reason_of(error)}; TMPDIR "
                "names another folder"
            ) from error
