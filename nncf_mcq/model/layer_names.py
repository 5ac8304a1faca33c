"""Names of operations: those of the user's model stay, those that a conversion makes up are the same in every run."""

from __future__ import annotations

import itertools
import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from typing import Final

import openvino as ov
from openvino import opset13

from nncf_mcq.model.nodes import LAYER_TYPES

_DEFAULT_NAME: Final = re.compile(r"([A-Z][A-Za-z0-9]*)_\d+")
"""The type of an operation and how many the process had made: other numbers in the next run."""

_TYPES: Final = frozenset(name.replace("_", "") for name in dir(opset13) if not name.startswith("_"))

_FUSED_NAMES: Final = "fused_names_0"
"""The rt_info in which OpenVINO's transformations note the operations that one was made from."""


def given_names(model: ov.Model) -> tuple[str, ...]:
    """Names that come from the user's model rather than from a conversion, in the order of the model.

    In an IR these are all names: users see them there, whatever they count.
    """
    is_ir, traced = model.has_rt_info(["version"]), _is_traced(model)
    operations = model.get_ordered_ops()
    return tuple(item.get_friendly_name() for item in operations if is_ir or not _is_made_up(item, traced))


def restore_names(model: ov.Model, given: Sequence[str], layers: frozenset[str]) -> None:
    """Gives operations the names back that they had before transformations fused others with them.

    An operation that was made from several gets the name of the layer among them, or else of the last.

    Args:
        model: The transformed model, with the names of fused operations in its rt_info; it is edited.
        given: Names before the transformations, as `given_names` found them.
        layers: Those among them that are names of layers.
    """
    known = frozenset(given)
    present = {operation.get_friendly_name() for operation in model.get_ops()}
    missing = [name for name in given if name not in present]
    for operation in model.get_ordered_ops():
        if operation.get_type_name() == "Constant":
            continue
        is_layer = operation.get_type_name() in LAYER_TYPES
        name = operation.get_friendly_name()
        kept = name in layers if is_layer else name in known or not _has_default_name(operation)
        information = operation.get_rt_info()
        if kept or _FUSED_NAMES not in information:
            continue
        fused = f",{information[_FUSED_NAMES].astype(str)},"
        # Not split at the commas: names may hold some.
        found = [name for name in missing if f",{name}," in fused]
        if is_layer:
            found = [name for name in found if name in layers]
        if found:
            operation.set_friendly_name(found[-1])
            missing.remove(found[-1])


def layer_names(model: ov.Model) -> frozenset[str]:
    """Names of layers that come from the user's model."""
    traced = _is_traced(model)
    return frozenset(item.get_friendly_name() for item in _layers(model) if not _is_made_up(item, traced))


def name_layers(model: ov.Model) -> None:
    """Replaces made-up names of layers by ones that are the same in every run.

    Where a folded batch normalization took the layer's name, the operation that reads the layer's output still has the
    name of its module: that one is taken.
    """
    traced = _is_traced(model)
    taken = {operation.get_friendly_name() for operation in model.get_ops()}
    for number, operation in enumerate(_layers(model)):
        kind = operation.get_type_name()
        # A name of this form may be from here: the readers of a layer have other names by now, and could change it.
        if not _is_made_up(operation, traced) or operation.get_friendly_name() == f"{kind}_{number}":
            continue
        readers = [target.get_node().get_friendly_name() for target in operation.output(0).get_target_inputs()]
        module = readers[0].split("/")[0].removeprefix("__module.") if len(readers) == 1 and "/" in readers[0] else ""
        name = f"{module}/{kind}" if module else f"{kind}_{number}"
        while name in taken:
            name = f"{name}_{number}"
        operation.set_friendly_name(name)
        taken.add(name)


def number_others(model: ov.Model, given: Sequence[str]) -> None:
    """Numbers made-up names of all other operations in the order of the model, instead of that of their making.

    Args:
        model: The model; it is edited.
        given: Names that stay, as `given_names` found them.
    """
    kept = frozenset(given)
    operations = [item for item in model.get_ordered_ops() if item.get_type_name() not in LAYER_TYPES]
    made_up = [item for item in operations if _has_default_name(item) and item.get_friendly_name() not in kept]
    renamed = {item.get_name() for item in made_up}
    taken = {item.get_friendly_name() for item in model.get_ops() if item.get_name() not in renamed}
    numbers: defaultdict[str, Iterator[int]] = defaultdict(itertools.count)
    for operation in made_up:
        kind = operation.get_type_name()
        candidates = (f"{kind}_{number}" for number in numbers[kind])
        operation.set_friendly_name(next(name for name in candidates if name not in taken))


def make_names_unique(model: ov.Model) -> None:
    """Numbers operations that have the name of another; layers and then inputs keep theirs before others do."""
    operations = model.get_ordered_ops()
    first = [*_layers(model), *model.get_parameters()]
    names = {operation.get_friendly_name() for operation in operations}
    kept: set[str] = set()
    for operation in _without_repetition([*first, *operations]):
        name = operation.get_friendly_name()
        if name in kept:
            numbered = (f"{name}_{number}" for number in itertools.count(1))
            name = next(candidate for candidate in numbered if candidate not in names)
            operation.set_friendly_name(name)
            names.add(name)
        kept.add(name)


def _layers(model: ov.Model) -> list[ov.Node]:
    return [operation for operation in model.get_ordered_ops() if operation.get_type_name() in LAYER_TYPES]


def _is_traced(model: ov.Model) -> bool:
    """Whether OpenVINO converted the model from PyTorch, whose operations have no names of this form of their own."""
    path = ["conversion_parameters", "framework"]
    return bool(model.has_rt_info(path) and model.get_rt_info(path).astype(str) == "pytorch")


def _is_made_up(operation: ov.Node, traced: bool) -> bool:
    """Whether a name is no user's: a type of OpenVINO and a number, as operations without a name get.

    A MatMul_5 or Relu_3 may be the name of an ONNX node as well: there the node's tensor has a name too.
    """
    if not _has_default_name(operation):
        return False
    return traced or operation.get_friendly_name() == operation.get_name() or not operation.output(0).get_names()


def _has_default_name(operation: ov.Node) -> bool:
    match = _DEFAULT_NAME.fullmatch(operation.get_friendly_name())
    return match is not None and match[1].lower() in _TYPES


def _without_repetition(operations: Iterable[ov.Node]) -> Iterator[ov.Node]:
    seen: set[str] = set()
    for operation in operations:
        if operation.get_name() not in seen:
            seen.add(operation.get_name())
            yield operation
