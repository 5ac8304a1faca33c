"""Measures a latency table."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import lsq_linear

from nncf_mcq.latency.clock import TimedModel, measure_interleaved
from nncf_mcq.latency.models import LatencyModels
from nncf_mcq.latency.profile import time_shares
from nncf_mcq.latency.table import LatencyKey, LatencyTable, LayerLatency, PrecisionConversion
from nncf_mcq.model.layers import QuantizableModel
from nncf_mcq.model.nodes import operations_by_name

Floats = NDArray[np.float64]

METHOD_VERSION = 2
"""Raised whenever tables come out otherwise than before: cached ones are then measured again."""

SECONDS = 0.3
"""For each variant that is measured."""

_FEWEST_PAIRS = 8
_ENDS = 3
"""So often the int8 and the float model are compiled: one in memory that suits it may be some percent faster."""

_CONVERSION_DAMPING = 3.0
"""How many measurements must speak for a switch that takes longer for each element than others, about the square."""

_KERNEL_DAMPING = 0.5
"""The same for a layer that float makes slower by another factor than the whole model."""


def measure_table(
    models: LatencyModels,
    key: LatencyKey,
    *,
    seconds: float | None = None,
    progress: Callable[[], None] = lambda: None,
) -> LatencyTable:
    """Measures variants with random float layers, and finds by least squares what each layer and switch adds.

    One variant says little of one layer: the same model, compiled twice, may differ by some percent, as much as a layer
    makes. In this way every variant says something of every layer. They come in pairs, of which one has in float what
    the other has in int8: both have the same precision conversions, so their difference tells the kernels and their sum
    the conversions.

    Args:
        models: The model's variants.
        key: Threads and precision are taken from it.
        seconds: How long each variant is measured, interleaved with one int8 model; `SECONDS` by default.
        progress: Called after each variant; there are `count_variants`.

    Source: the weighing designs of Hotelling, "Some Improvements in Weighing and Other Experimental Techniques",
    Annals of Mathematical Statistics 15(3), 1944.
    """
    seconds = SECONDS if seconds is None else seconds
    groups, edges = float_groups(models.quantizable), neighbours(models.quantizable)
    # Beside a layer that is never float a conversion is part of what float costs.
    edges = {pair: size for pair, size in edges.items() if set(pair) <= set(groups)}
    base = TimedModel.compile(models.build(), key.threads, key.precision)
    reference = measure_interleaved({"base": base}, seconds)["base"]
    chosen = design(len(groups))
    times = []
    for row in chosen:
        variant = models.build([name for name, is_float in zip(groups, row, strict=True) if is_float])
        found = measure_interleaved(
            {"base": base, "variant": TimedModel.compile(variant, key.threads, key.precision)}, seconds
        )
        # By the base, which was measured at the same time: the processor's clock may drift.
        times.append(found["variant"] / found["base"] * reference)
        progress()
    members = models.quantizable.groups
    shares = time_shares(models.build(), [layer.name for name in groups for layer in members[name]], key.threads)
    portions = np.array([sum(shares[layer.name] for layer in members[name]) for name in groups])
    pairs = [(groups.index(source), groups.index(target)) for source, target in edges]
    int8, extra, conversions = fit(
        chosen, np.array(times), pairs, np.array(list(edges.values()), dtype=float), portions
    )
    return LatencyTable(
        key=key,
        int8_ms=int8,
        float_ms=float(np.median(np.array(times)[chosen.all(axis=1)])),
        layers={
            name: LayerLatency(int8_ms=int8 * float(portions[index]), extra_ms=float(extra[index]))
            for index, name in enumerate(groups)
        },
        precision_conversions=tuple(
            PrecisionConversion(source=source, target=target, ms=float(ms))
            for (source, target), ms in zip(edges, conversions, strict=True)
        ),
    )


def count_variants(quantizable: QuantizableModel) -> int:
    """How often `measure_table` calls its `progress`.

    Args:
        quantizable: The model.
    """
    return len(design(len(float_groups(quantizable))))


def float_groups(quantizable: QuantizableModel) -> list[str]:
    """Names of the groups of layers that may be left in floating point.

    Args:
        quantizable: The model.
    """
    return [name for name, members in quantizable.groups.items() if all(layer.integer_kernel for layer in members)]


def design(groups: int, seed: int = 0) -> NDArray[np.bool_]:
    """Which groups are float in each variant: pairs of opposite rows, and both ends several times.

    Args:
        groups: Number of groups.
        seed: Of the random rows.

    Returns:
        (variants, groups).
    """
    pairs = max(groups, _FEWEST_PAIRS)
    random = np.random.default_rng(seed)
    # From few float layers to half of them: policies of both kinds are to be predicted.
    half = random.random((pairs, groups)) < np.linspace(0.1, 0.5, pairs)[:, None]
    ends = np.repeat([[False], [True]], _ENDS, axis=0) & np.ones(groups, dtype=bool)
    return np.concatenate([half, ~half, ends])


def fit(
    chosen: NDArray[np.bool_], times: Floats, edges: Sequence[tuple[int, int]], sizes: Floats, portions: Floats
) -> tuple[float, Floats, Floats]:
    """Time that each group and conversion add, by least squares of relative errors; conversions are never a gain.

    A switch is a pass over a tensor: it takes a time for each element, the same for all, and more where measurements
    say so clearly. Layers are expected to become slower by the factor of the whole model, which tells the small ones
    from noise.

    Args:
        chosen: (variants, groups) which groups are float; some rows are all, some none.
        times: (variants,) milliseconds.
        edges: Pairs of groups between which precision may switch.
        sizes: (edges,) elements of the tensor that is converted.
        portions: (groups,) share of the int8 model's time.

    Returns:
        Milliseconds of int8, (groups,) what each kernel adds in float, (edges,) what each switch takes.
    """
    groups, variants = chosen.shape[1], len(times)
    int8, slowest = (float(np.median(times[rows])) for rows in (~chosen.any(axis=1), chosen.all(axis=1)))
    switched = np.array([chosen[:, source] != chosen[:, target] for source, target in edges], dtype=float)
    switched = switched.reshape(len(edges), variants).T
    shares = sizes / max(sizes.max(initial=0.0), 1.0)
    # All in units of int8. Unknown: int8 itself, kernels, the largest switch, what each takes above its share of it.
    measured = np.column_stack([np.ones(variants), chosen, switched @ shares, switched]) * (int8 / times)[:, None]
    kernels, conversions = np.eye(groups), np.eye(len(edges))
    rows = np.block(
        [
            [measured],
            [np.zeros((groups, 1)), _KERNEL_DAMPING * kernels, np.zeros((groups, 1 + len(edges)))],
            [np.zeros((len(edges), 2 + groups)), _CONVERSION_DAMPING * conversions],
        ]
    )
    expected = _KERNEL_DAMPING * (slowest / int8 - 1) * portions
    values = np.concatenate([np.ones(variants), expected, np.zeros(len(edges))])
    # In float a layer takes at least no time.
    lower = np.concatenate([[0.0], -portions - 1e-9, np.zeros(1 + len(edges))])
    solution = lsq_linear(rows, values, bounds=(lower, np.inf)).x * int8
    return float(solution[0]), solution[1 : groups + 1], solution[groups + 1] * shares + solution[groups + 2 :]


def neighbours(quantizable: QuantizableModel) -> dict[tuple[str, str], int]:
    """Pairs of groups of layers, one of which reads what the other one yields with no further layer in between.

    Behind an addition the way ends where its operand is quantized for another layer already: only one of the two
    precisions converts there.

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
