"""Names of operations: those of the user's model stay, those that a conversion makes up are the same in every run."""

from __future__ import annotations

import itertools
import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

import openvino as ov
from openvino import opset13

from nncf_mcq.model.nodes import LAYER_TYPES

_DEFAULT_NAME: Final = re.compile(r"([A-Z][A-Za-z0-9]*)_\d+")
"""The type of an operation and how many the process had made: other numbers in the next run."""

_TYPES: Final = frozenset(name.replace("_", "") for name in dir(opset13) if not name.startswith("_"))

_FUSED_NAMES: Final = "fused_names_0"
"""The rt_info in which OpenVINO's transformations note the operations that one was made from."""


@dataclass(frozen=True)
class GivenName:
    """A name that comes from the user's model rather than from a conversion.

    Attributes:
        name: Friendly name of an operation.
        kind: Type of the operation.
        tensors: Names of its first output.
    """

    name: str
    kind: str
    tensors: frozenset[str]


def given_names(model: ov.Model) -> tuple[GivenName, ...]:
    """The names that a user knows, in the order of the model.

    In an IR these are the names of all operations but layers, whatever they count: users see them there.
    """
    is_ir, traced = model.has_rt_info(["version"]), _is_traced(model)
    return tuple(
        GivenName(operation.get_friendly_name(), operation.get_type_name(), _tensor_names(operation))
        for operation in model.get_ordered_ops()
        if (is_ir and not _is_layer(operation)) or not _is_made_up(operation, traced)
    )


def restore_names(model: ov.Model, given: Sequence[GivenName]) -> None:
    """Gives operations the names back that they had before transformations fused others with them.

    A layer that was made from several operations gets the name of the layer among them, another operation that of one
    of its own type, or else of the last.

    Args:
        model: The transformed model, with the names of fused operations in its rt_info; it is edited.
        given: Names before the transformations.
    """
    present = {operation.get_friendly_name() for operation in model.get_ops()}
    missing = [item for item in given if item.name not in present]
    of_layers, of_all = _names_of_layers(given), {item.name for item in given}
    for operation in model.get_ordered_ops():
        name, is_layer = operation.get_friendly_name(), _is_layer(operation)
        keeps_others = name in of_all or not _has_default_name(operation)
        if operation.get_type_name() == "Constant" or (name in of_layers if is_layer else keeps_others):
            continue
        fused = _fused_names(operation)
        found = [
            item
            for item in missing
            if (item.kind in LAYER_TYPES) == is_layer
            # Some transformations forget the name of the operation, and keep that of its output.
            and (f",{item.name}," in fused or (is_layer and item.tensors & _tensor_names(operation)))
        ]
        same_type = [item for item in found if item.kind == operation.get_type_name()]
        chosen = same_type or [item for item in found if not _is_default_name(item.name)]
        if chosen:
            operation.set_friendly_name(chosen[-1].name)
            missing.remove(chosen[-1])


def name_layers(model: ov.Model, given: Sequence[GivenName]) -> None:
    """Replaces made-up names of convolutions and MatMuls by ones that are the same in every run.

    Where a folded batch normalization took the layer's name, the operation that reads the layer's output still has the
    name of its module: that one is taken.

    Args:
        model: The model; it is edited.
        given: Names that stay.
    """
    kept = _names_of_layers(given)
    taken = {operation.get_friendly_name() for operation in model.get_ops()}
    for number, operation in enumerate(filter(_is_layer, model.get_ordered_ops())):
        kind, name = operation.get_type_name(), operation.get_friendly_name()
        # A name of this form may be from here: the readers of a layer have other names by now, and could change it.
        if name in kept or not _has_default_name(operation) or name == f"{kind}_{number}":
            continue
        readers = [target.get_node().get_friendly_name() for target in operation.output(0).get_target_inputs()]
        module = readers[0].split("/")[0].removeprefix("__module.") if len(readers) == 1 and "/" in readers[0] else ""
        name = f"{module}/{kind}" if module else f"{kind}_{number}"
        while name in taken:
            name = f"{name}_{number}"
        operation.set_friendly_name(name)
        taken.add(name)


def number_others(model: ov.Model, given: Sequence[GivenName]) -> None:
    """Numbers made-up names of all other operations in the order of the model, instead of that of their making.

    Args:
        model: The model; it is edited.
        given: Names that stay.
    """
    kept = {item.name for item in given}
    made_up = [
        operation
        for operation in model.get_ordered_ops()
        if not _is_layer(operation) and _has_default_name(operation) and operation.get_friendly_name() not in kept
    ]
    renamed = {operation.get_name() for operation in made_up}
    taken = {item.get_friendly_name() for item in model.get_ops() if item.get_name() not in renamed}
    numbers: defaultdict[str, Iterator[int]] = defaultdict(itertools.count)
    for operation in made_up:
        kind = operation.get_type_name()
        candidates = (f"{kind}_{number}" for number in numbers[kind])
        operation.set_friendly_name(next(name for name in candidates if name not in taken))


def make_names_unique(model: ov.Model) -> None:
    """Numbers operations that have the name of another; layers and then inputs keep theirs before others do."""
    operations = model.get_ordered_ops()
    first = [*filter(_is_layer, operations), *model.get_parameters()]
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


def _is_layer(operation: ov.Node) -> bool:
    return operation.get_type_name() in LAYER_TYPES


def _names_of_layers(given: Iterable[GivenName]) -> frozenset[str]:
    return frozenset(item.name for item in given if item.kind in LAYER_TYPES)


def _tensor_names(operation: ov.Node) -> frozenset[str]:
    return frozenset(operation.output(0).get_names()) if operation.get_output_size() else frozenset()


def _fused_names(operation: ov.Node) -> str:
    """With a comma around each; not split, since names may hold commas themselves."""
    information = operation.get_rt_info()
    return f",{information[_FUSED_NAMES].astype(str)}," if _FUSED_NAMES in information else ""


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
    return traced or operation.get_friendly_name() == operation.get_name() or not _tensor_names(operation)


def _has_default_name(operation: ov.Node) -> bool:
    return _is_default_name(operation.get_friendly_name())


def _is_default_name(name: str) -> bool:
    match = _DEFAULT_NAME.fullmatch(name)
    return match is not None and match[1].lower() in _TYPES


def _without_repetition(operations: Iterable[ov.Node]) -> Iterator[ov.Node]:
    seen: set[str] = set()
    for operation in operations:
        if operation.get_name() not in seen:
            seen.add(operation.get_name())
            yield operation
