"""What a reader can do next: smaller and larger models than the one at hand, from what its search knows."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Final

from nncf_mcq import FLOAT_CHOICE
from openvino_eval.formats import format_number
from openvino_eval.run_result import Run

STEP: Final = 0.5
"""Bits on average between a model and the next one that is suggested."""

_SMALLEST_GAIN: Final = 0.02
"""Share of the file below which nobody is sent for."""


def next_steps(run: Run) -> list[str]:
    """Sentences about the sizes next to a run's, from the sensitivities of its search; none where it has none.

    Sensitivities add up to what the search expects a policy to lose, so that they tell what another one would lose
    before it is made: bits are taken where they cost the least loss for each bit of the file.

    Args:
        run: The run.
    """
    sensitivities = _sensitivities(run)
    layers = {layer.group or layer.name: layer for layer in run.result.layers if layer.bits and layer.weights}
    groups = {name: layer for name, layer in layers.items() if str(layer.bits) in sensitivities.get(name, {})}
    size = run.result.metrics.quantized.get("bin_bytes")
    total = sum(layer.weights or 0 for layer in groups.values())
    if not groups or not size or not total:
        return []
    weights = {name: layer.weights or 0 for name, layer in groups.items()}
    bits = {name: layer.bits or 0 for name, layer in groups.items()}
    known = {name: {int(width): loss for width, loss in sensitivities[name].items()} for name in groups}
    average = sum(weights[name] * bits[name] for name in groups) / total
    expected = sum(known[name][bits[name]] for name in groups)
    sentences = []
    for direction, effect in ((-1, "save another {:.0f} % of the file"), (1, "make the file {:.0f} % larger")):
        # The next multiple that is at least half a step away.
        rounded = math.floor if direction < 0 else math.ceil
        target = rounded(average / STEP + direction / 2) * STEP
        found = _towards(target, direction, weights, known, bits)
        change = sum(weights[name] * (found[name] - bits[name]) for name in groups) / 8 / float(size)
        if abs(change) < _SMALLEST_GAIN:
            continue
        reached = sum(weights[name] * found[name] for name in groups) / total
        loss = sum(known[name][found[name]] for name in groups)
        sentences.append(
            f"An average of {reached:.2f} bits would {effect.format(100 * abs(change))}, for {_times(loss, expected)} "
            "the expected loss by the bits of weights."
        )
    return sentences


def _times(loss: float, expected: float) -> str:
    """A loss as a multiple of another: by itself it would look like the score, which there is more in."""
    return f"{loss / expected:.2f} times" if expected > 0 else format_number(loss)


def _sensitivities(run: Run) -> Mapping[str, Mapping[str, float]]:
    found = run.result.search.details.get("sensitivities")
    return found if isinstance(found, Mapping) else {}


def _towards(
    target: float,
    direction: int,
    weights: Mapping[str, int],
    losses: Mapping[str, Mapping[int, float]],
    bits: Mapping[str, int],
) -> dict[str, int]:
    """Bits of each group with an average of at most, or for more bits of at least, the target, as far as there are."""
    found, total = dict(bits), sum(weights.values())
    while direction * (sum(weights[name] * found[name] for name in found) / total - target) < 0:
        moves = [
            ((losses[name][width] - losses[name][own]) / (weights[name] * abs(width - own)), name, width)
            for name, own in found.items()
            for width in losses[name]
            if width != FLOAT_CHOICE and direction * (width - own) > 0
        ]
        if not moves:
            break
        # The least loss for each bit that goes, or the largest gain, a negative loss, for each that comes.
        _, name, width = min(moves)
        found[name] = width
    return found
