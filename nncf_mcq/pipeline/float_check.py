"""A look at what the float model makes of the calibration images, before anything is computed for it."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Final

import openvino as ov

from nncf_mcq.config.goal import Goal
from nncf_mcq.config.quality_report import OutputKind
from nncf_mcq.metrics.doubts import Doubts
from nncf_mcq.metrics.recognition import RECOGNIZED_ON, misfit, outputs_of, recognize_outputs
from nncf_mcq.model.inference import compile_model
from nncf_mcq.model.samples import Samples
from nncf_mcq.precision_init.goal import check_outputs

_logger = logging.getLogger(__name__)

_IMAGES: Final = 16


def check_float_model(
    model: ov.Model, calibration: Samples, threads: int, kinds: Mapping[str, OutputKind], goal: Goal | None
) -> None:
    """Finds a goal that is not for the model, and logs why being close to it may say nothing, by its answers to images.

    Args:
        model: The float model.
        calibration: Samples of it.
        threads: Inference threads.
        kinds: Name of an output to what it is, where that is known better than it can be recognized.
        goal: Of the search, if any.

    Raises:
        ConfigError: The goal, or a kind, is not for the outputs of the model.
    """
    images = outputs_of(compile_model(model, threads), calibration[:_IMAGES])
    recognized = recognize_outputs(model, images[:RECOGNIZED_ON], kinds)
    check_outputs(goal, recognized, images[0][0])
    doubts = Doubts(recognized)
    try:
        for outputs in images:
            doubts.add(outputs)
    except (IndexError, ValueError) as error:
        raise misfit(model, kinds) from error
    for sentence in doubts.sentences():
        _logger.warning("%s", sentence)
