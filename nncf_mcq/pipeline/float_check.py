"""A look at what the float model makes of the calibration images, before anything is computed for it."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Final

import openvino as ov

from nncf_mcq.config.quality_report import OutputKind
from nncf_mcq.metrics.doubts import Doubts
from nncf_mcq.metrics.recognition import RECOGNIZED_ON, recognize_outputs, run
from nncf_mcq.model.samples import Samples

_logger = logging.getLogger(__name__)

_IMAGES: Final = 16


def warn_of_doubts(model: ov.Model, calibration: Samples, threads: int, kinds: Mapping[str, OutputKind]) -> None:
    """Logs why being close to the float model may say nothing, by its answers to some images.

    Args:
        model: The float model.
        calibration: Samples of it.
        threads: Inference threads.
        kinds: Name of an output to what it is, where that is known better than it can be recognized.
    """
    images = run(model, calibration[:_IMAGES], threads)
    doubts = Doubts(recognize_outputs(model, images[:RECOGNIZED_ON], kinds))
    for outputs in images:
        doubts.add(outputs)
    for sentence in doubts.sentences():
        _logger.warning("%s", sentence)
