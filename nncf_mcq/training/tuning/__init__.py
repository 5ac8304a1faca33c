"""Tuning: quantized models trained on unlabelled images, and kept where they win on images that nothing has seen."""

from nncf_mcq.training.tuning.base import TUNINGS, Tuning, TuningTask
from nncf_mcq.training.tuning.checkpoint import Checkpoint
from nncf_mcq.training.tuning.distillation import Distillation
from nncf_mcq.training.tuning.stage import TuningStage, images_needed, open_tuning

__all__ = [
    "TUNINGS",
    "Checkpoint",
    "Distillation",
    "Tuning",
    "TuningStage",
    "TuningTask",
    "images_needed",
    "open_tuning",
]
