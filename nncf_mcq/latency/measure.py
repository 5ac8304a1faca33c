"""Measures a latency table."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import lsq_linear

from nncf_mcq.graph import operations_by_name
from nncf_mcq.latency.clock import TimedModel, measure_in_turns
from nncf_mcq.latency.models import LatencyModels
from nncf_mcq.latency.profile import time_shares
from nncf_mcq.latency.table import LatencyKey, LatencyTable, LayerLatency, Switch
from nncf_mcq.layers import QuantizableModel

SECONDS = 0.3
"""For each model that is measured, beside the two that it is compared with."""

_TOTAL_WEIGHT = 10.0
"""The time of the float model is one equation for all layers: it counts so many times."""

_DAMPING = 0.7
"""How much must speak for a switch that takes longer than others for each element, relative to one measurement."""


def measure_table(
    models: LatencyModels,
    key: LatencyKey,
    *,
    seconds: float | None = None,
    progress: Callable[[], None] = lambda: None,
) -> LatencyTable:
    """Measures each group of layers alone in float among int8 layers, and alone in int8 among float layers.

    The kernel takes longer in float by as much in either surroundings. Switches of precision are a loss in the one and
    in the other: half the sum of what float adds among int8 and among float layers is the kernel, half the difference
    the switches.

    Args:
        models: The model's variants.
        key: Threads and precision are taken from it.
        seconds: How long each variant is measured, in turns with the int8 or the float model; `SECONDS` by default.
        progress: Called after each variant; there are `count_variants`.
    """
    seconds = SECONDS if seconds is None else seconds
    groups = list(models.quantizable.groups)
    bases = {
        "int8": TimedModel(models.build(), key.threads, key.precision),
        "float": TimedModel(models.build(groups), key.threads, key.precision),
    }
    ends = measure_in_turns(bases, 3 * seconds)
    found: dict[str, list[float]] = {name: [] for name in bases}
    for group in groups:
        variants = {"int8": [group], "float": [other for other in groups if other != group]}
        for name, float_groups in variants.items():
            timed = TimedModel(models.build(float_groups), key.threads, key.precision)
            pair = measure_in_turns({"base": bases[name], "variant": timed}, seconds)
            # In units of the base, which was measured at the same time: the processor's clock may drift.
            change = (pair["variant"] / pair["base"] - 1) * ends[name]
            found[name].append(change if name == "int8" else -change)
            progress()
    edges = neighbours(models.quantizable)
    shares = time_shares(models.build(), [layer.name for layer in models.quantizable.layers], key.threads)
    members_of = models.quantizable.groups
    int8 = {name: ends["int8"] * sum(shares[layer.name] for layer in members_of[name]) for name in groups}
    extra, switches = separate(
        groups,
        list(edges),
        np.array(found["int8"]),
        np.array(found["float"]),
        total=ends["float"] - ends["int8"],
        int8=np.array(list(int8.values())),
        sizes=np.array(list(edges.values())),
        # Errors are a share of what is measured, and the float model takes longer.
        trust_in_float=min(ends["int8"] / ends["float"], 1.0),
    )
    return LatencyTable(
        key=key,
        int8_ms=ends["int8"],
        float_ms=ends["float"],
        layers={
            name: LayerLatency(int8_ms=int8[name], extra_ms=float(extra[index])) for index, name in enumerate(groups)
        },
        switches=tuple(
            Switch(source=source, target=target, ms=float(ms))
            for (source, target), ms in zip(edges, switches, strict=True)
        ),
    )


def count_variants(quantizable: QuantizableModel) -> int:
    """How often `measure_table` calls its `progress`.

    Args:
        quantizable: The model.
    """
    return 2 * len(quantizable.groups)


def separate(
    groups: Sequence[str],
    edges: Sequence[tuple[str, str]],
    in_int8: NDArray[np.float64],
    in_float: NDArray[np.float64],
    *,
    total: float,
    int8: NDArray[np.float64],
    sizes: NDArray[np.float64],
    trust_in_float: float = 1.0,
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """What each group's kernel and each switch take, by least squares; switches are never a gain.

    A switch is a pass over a tensor: it takes a time for each element, the same for all, and more where measurements
    say so clearly. Without that, the errors of measurements would all be taken for switches.

    Args:
        groups: Names of groups.
        edges: Pairs of groups between which precision may switch.
        in_int8: (groups,) what a group adds in float when all others are int8: kernel plus switches.
        in_float: (groups,) what a group saves in int8 when all others are float: kernel less switches.
        total: What all groups together add.
        int8: (groups,) what a group takes in int8: in float nothing takes less than no time.
        sizes: (edges,) elements of the tensor that is converted.
        trust_in_float: Weight of `in_float` relative to `in_int8`.

    Returns:
        (groups,) and (edges,) in the unit of the measurements.
    """
    count = len(groups)
    touching = np.zeros((count, len(edges)))
    for column, pair in enumerate(edges):
        for name in pair:
            touching[groups.index(name), column] = 1.0
    kernels, shares = np.eye(count), sizes / max(sizes.max(initial=0.0), 1.0)
    # The unknowns: kernels, the time of the largest switch, and what each takes above its share of that.
    switching = np.column_stack([touching @ shares, touching])
    rows = np.block(
        [
            [kernels, switching],
            [trust_in_float * kernels, -trust_in_float * switching],
            [np.full((1, count), _TOTAL_WEIGHT), np.zeros((1, 1 + len(edges)))],
            [np.zeros((len(edges), count + 1)), _DAMPING * np.eye(len(edges))],
        ]
    )
    values = np.concatenate([in_int8, trust_in_float * in_float, [_TOTAL_WEIGHT * total], np.zeros(len(edges))])
    lower = np.concatenate([-int8 - 1e-9, np.zeros(1 + len(edges))])
    solution = lsq_linear(rows, values, bounds=(lower, np.inf)).x
    return solution[:count], solution[count] * shares + solution[count + 1 :]


def neighbours(quantizable: QuantizableModel) -> dict[tuple[str, str], int]:
    """Pairs of groups of layers, one of which reads what the other one yields with no further layer in between.

    Behind an addition the way ends where its operand is quantized for another layer already: only one of the two
    precisions switches there.

    Args:
        quantizable: The model.

    Returns:
        The pairs, with the number of elements that the second one reads.
    """
    operations = operations_by_name(quantizable.model)
    layers = {layer.name: layer for layer in quantizable.layers}
    read = {point.name for point in quantizable.activation_points if any(name in layers for name in point.operations)}
    found: dict[tuple[str, str], int] = {}
    for layer in quantizable.layers:
        data = operations[layer.name].input_value(layer.data_port)
        elements, start = math.prod(data.get_shape()), data.get_node()
        stack, seen = [(start, False)], set()
        while stack:
            node, behind_addition = stack.pop()
            name = node.get_friendly_name()
            if name in seen:
                continue
            seen.add(name)
            if name in layers:
                if layers[name].group != layer.group:
                    found[layers[name].group, layer.group] = elements
            elif not (behind_addition and name in read):
                sources = [value.get_node() for value in node.input_values()]
                operands = [source for source in sources if source.get_type_name() != "Constant"]
                stack.extend((operand, behind_addition or len(operands) > 1) for operand in operands)
    return found
