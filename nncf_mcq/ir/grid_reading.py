"""Activation grids read back from a quantized model, and replaced: the inverse of `ir.activations`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np
import openvino as ov

from nncf_mcq.errors import QuantizationError
from nncf_mcq.ir.activations import ActivationGrid, concat_groups, set_activation_grids
from nncf_mcq.model.nodes import operations_by_name, source
from nncf_mcq.utils.disjoint_sets import merge_overlapping


def take_grids(model: ov.Model, names: Iterable[str]) -> dict[str, ActivationGrid]:
    """Reads the grids of a model, and leaves one FakeQuantize at each place, as `set_activation_grids` expects it.

    Args:
        model: A quantized model; edited.
        names: Friendly names of the FakeQuantize nodes; those that the model does not have, since only layers in
            floating point would read them, are left out.

    Returns:
        The grids by name.

    Raises:
        QuantizationError: A node of such a name is none that `set_activation_grids` put there.
    """
    operations = operations_by_name(model)
    grids = {}
    for name in names:
        if name not in operations:
            continue
        node = operations[name]
        inner = source(node, 0)
        is_pair = inner.get_friendly_name() == f"{name}/grid"
        # At a residual Add the first of two has one level more, which the second clips away.
        has_extra_level = is_pair and _levels(inner) == _levels(node) + 1
        grids[name] = _grid(node if has_extra_level or not is_pair else inner)
        if is_pair:
            node.input(0).replace_source_output(inner.input_value(0))
    return grids


def put_grids(model: ov.Model, grids: Mapping[str, ActivationGrid]) -> None:
    """Replaces the grids of a model.

    Args:
        model: A quantized model; edited.
        grids: Friendly name of a FakeQuantize to its new grid.
    """
    take_grids(model, grids)
    set_activation_grids(model, grids)


def equal_grids(
    model: ov.Model, grids: Mapping[str, ActivationGrid], unified: Iterable[Iterable[str]] = ()
) -> list[tuple[str, ...]]:
    """The FakeQuantize nodes that have one grid and must keep one, see `concat_groups`.

    Args:
        model: What `take_grids` left.
        grids: What it returned.
        unified: Further names that share a grid.

    Returns:
        All names, in the order of `grids`; most of them alone.
    """
    meeting = [[node.get_friendly_name() for node in group] for group in concat_groups(model)]
    groups: dict[tuple[object, ...], list[str]] = {}
    members = merge_overlapping([*([name] for name in grids), *meeting, *unified])
    number = {name: index for index, group in enumerate(members) for name in group}
    for name, grid in grids.items():
        key = (number[name], grid.bits, grid.low.tobytes(), grid.high.tobytes(), grid.low.shape)
        groups.setdefault(key, []).append(name)
    return [tuple(group) for group in groups.values()]


def _levels(node: ov.Node) -> int:
    return int(node.get_attributes()["levels"])


def _grid(node: ov.Node) -> ActivationGrid:
    if node.get_type_name() != "FakeQuantize" or _levels(node) not in {2**bits for bits in range(2, 9)}:
        raise QuantizationError(
            f"{node.get_friendly_name()}: found {node.get_type_name()}, allowed: an activation grid"
        )
    low, high = (np.array(source(node, port).get_data(dtype=np.float32)) for port in (1, 2))
    return ActivationGrid.from_range(low, high, _levels(node).bit_length() - 1)
