"""The choice of the activations' rule at 8 bits: what scores best on images that the ranges were not taken from."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import numpy as np
import openvino as ov
from numpy.typing import NDArray
from openvino import opset13 as opset

from nncf_mcq.config.parameters import NamedParameters
from nncf_mcq.ir.float_layers import replace_weights
from nncf_mcq.metrics.output_scores import OutputScores
from nncf_mcq.model.layers import QuantizableLayer, layer_weight
from nncf_mcq.model.runner import ModelRunner
from nncf_mcq.pipeline.calibrated_model import CalibratedModel
from nncf_mcq.policy import INT8_BITS
from nncf_mcq.range_init.activation.automatic import AutomaticActivationRange
from nncf_mcq.utils.progress import Stages

MAXIMUM_IMAGES = 64
"""Images that are scored in each half: more cost time and change no choice that matters."""

MARGIN = 0.2
"""Share by which a candidate's score must be lower than the first one's: smaller differences do not hold on other
images, as the divergence of a few of them makes most of the score."""


def choose_activation_rule(
    calibrated: CalibratedModel,
    score: OutputScores,
    run: Callable[..., ModelRunner],
    stages: Stages,
) -> NamedParameters | None:
    """Finds a candidate of `AutomaticActivationRange` that is clearly better than the first one in both halves.

    The weights are those of the float model: neither the bit-widths to choose from nor those of a policy change the
    rule. They stay in floating point: OpenVINO 2026.4 fuses a sequence of small int8 matrix products without biases
    into one node, which in one thread gave numbers from memory that nothing had written to.

    Args:
        calibrated: The model with the statistics of all calibration images.
        score: Distance of all outputs from the float model's.
        run: Makes the runner of a model.
        stages: Reports the progress.

    Returns:
        The parameters of the rule; None where there is nothing to choose: another rule is configured, no activation has
        8 bits, or there is one image.
    """
    parameters = calibrated.activations.config.range
    images = calibrated.calibration
    if not isinstance(parameters, AutomaticActivationRange.Parameters) or len(images) < 2:
        return None
    if INT8_BITS not in calibrated.activations.config.widths or len(parameters.candidates) < 2:
        return None
    halves = [np.arange(start, len(images), 2)[:MAXIMUM_IMAGES] for start in (0, 1)]
    bits = {point.name: INT8_BITS for point in calibrated.quantizable.activation_points}
    quantizable, candidates = calibrated.quantizable, parameters.candidates
    runs = len(halves) * len(candidates)
    with stages.stage("activation ranges", runs) as advance:
        float_runner = run(quantizable.model)

        def in_half(seen: NDArray[np.intp], held_out: NDArray[np.intp]) -> Callable[[int], float]:
            arrays = images[held_out].arrays
            reference, observed = float_runner(arrays), calibrated.activations.of_images(seen)

            def score_of(index: int) -> float:
                template = observed.with_rule(candidates[index]).model(bits).clone()
                found = score(run(replace_weights(template, quantizable, _float_weights))(arrays), reference)
                advance()
                # A model whose outputs are no numbers is worse than any other.
                return found if np.isfinite(found) else float("inf")

            return score_of

        first, second = halves
        chosen = _choose(len(candidates), (in_half(*pair) for pair in ((first, second), (second, first))))
        stages.report(runs, runs)
    return candidates[chosen]


def _choose(count: int, halves: Iterable[Callable[[int], float]]) -> int:
    """The candidate of least sum among the first one and those that are less by `MARGIN` in every half.

    Args:
        count: Number of candidates, two or more.
        halves: The score of a candidate in each half. Only what can change the choice is asked for.
    """
    sums = dict.fromkeys(range(count), 0.0)
    for score_of in halves:
        scores = {index: score_of(index) for index in sums}
        sums = {
            index: total + scores[index]
            for index, total in sums.items()
            if index == 0 or scores[index] < (1 - MARGIN) * scores[0]
        }
        if len(sums) == 1:
            break
    return min(sums, key=sums.__getitem__)


def _float_weights(layer: QuantizableLayer, operation: ov.Node) -> list[ov.Node]:
    return [opset.constant(part) for part in layer.split(layer_weight(layer, operation))]
