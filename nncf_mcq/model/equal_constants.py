"""Constants that are equal become one."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Iterable

import openvino as ov

from nncf_mcq.errors import QuantizationError
from nncf_mcq.model.layer_forms import WEIGHT_PORTS
from nncf_mcq.model.nodes import LAYER_TYPES, constant_of


def share_equal_weights(model: ov.Model) -> ov.Model:
    """Lets all layers whose weights are equal, bit for bit, read the same constant.

    A part of a network that is used twice has its weights once in PyTorch. Where a batch normalization follows them, it
    is folded into each use, and the converted model holds a constant for each: they would get bits of their own, and
    be stored twice. Biases are not shared: each layer's is corrected by itself.

    Args:
        model: Edited.

    Returns:
        The same model.
    """
    weights: dict[str, ov.Node] = {}
    for operation in model.get_ordered_ops():
        if operation.get_type_name() not in LAYER_TYPES:
            continue
        for port in WEIGHT_PORTS[operation.get_type_name()]:
            try:
                constant = constant_of(operation, port)
            except QuantizationError:
                continue
            weights.setdefault(constant.get_name(), constant)
    unite_equal(weights.values())
    return model


def unite_equal(constants: Iterable[ov.Node]) -> None:
    """Gives all readers of constants that are equal in type, shape and value the first of them.

    Args:
        constants: Of one model; each once.
    """
    alike: dict[tuple[str, tuple[int, ...]], list[ov.Node]] = defaultdict(list)
    for constant in constants:
        # The data of packed types are their bytes; those of strings are addresses.
        if constant.get_element_type() != ov.Type.string:
            alike[constant.get_element_type().get_type_name(), tuple(constant.get_output_shape(0))].append(constant)
    for candidates in alike.values():
        if len(candidates) == 1:
            # Nothing to compare it with: large ones need not be read.
            continue
        first: dict[bytes, ov.Node] = {}
        for constant in candidates:
            original = first.setdefault(hashlib.sha256(constant.get_data()).digest(), constant)
            if original is not constant:
                constant.output(0).replace(original.output(0))
