"""The stage of a quantization that tunes the policy's model: its images, and whether the result is kept."""

from __future__ import annotations

import logging
from dataclasses import dataclass, field

import nncf
import numpy as np
import openvino as ov
from numpy.typing import NDArray

from nncf_mcq.calibration.images import collect_images
from nncf_mcq.config.schema import CompressionConfig
from nncf_mcq.config.search_report import TuningReport
from nncf_mcq.config.source import RuntimeConfig
from nncf_mcq.errors import QuantizationError
from nncf_mcq.metrics.output_scores import OutputScores
from nncf_mcq.model.runner import ModelRunner
from nncf_mcq.model.samples import Samples
from nncf_mcq.model.torch_graph import TorchGraph
from nncf_mcq.precision_init.estimate import mean_score, paired_difference
from nncf_mcq.training.completion import check_finite, trained_model, trained_table
from nncf_mcq.training.module import QuantizedNetwork
from nncf_mcq.training.preparation import make_module
from nncf_mcq.training.tuning.base import TUNINGS, Tuning, TuningTask
from nncf_mcq.training.tuning.checkpoint import Checkpoint
from nncf_mcq.utils.progress import Stages
from nncf_mcq.weights.weight_table import WeightTable

LEAST_IMAGES = 16
"""Fewer leave too few to decide on."""

FEW_IMAGES = 256
"""What is learned from fewer seldom holds on others: scales and biases learned from 128 photographs gained nothing."""

_HELD_OUT_SHARE = 8
_MOST_HELD_OUT = 128

STANDARD_ERRORS = 2.0
"""So many standard errors below zero the difference must be for the tuned model to be kept."""

_logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Tuned:
    """A model after the tuning.

    Attributes:
        report: What it brought.
        model: The model; None where it is not kept.
        table: Its weights.
    """

    report: TuningReport
    model: ov.Model | None = None
    table: WeightTable | None = None


@dataclass(frozen=True)
class TuningStage:
    """Tunes a model and decides whether it is kept.

    Attributes:
        tuning: The method.
        images: Samples to tune on.
        held_out: Samples that nothing else sees.
        checkpoint: Where unfinished work is kept.
    """

    tuning: Tuning
    images: Samples = field(repr=False)
    held_out: Samples = field(repr=False)
    checkpoint: Checkpoint = field(default_factory=Checkpoint)

    def __call__(
        self, network: QuantizedNetwork, scores: OutputScores, runtime: RuntimeConfig, stages: Stages
    ) -> Tuned:
        """Tunes the model of a policy.

        What cannot be tuned, or gets worse, is kept as it was: the report says so.

        Args:
            network: The quantized model; not edited.
            scores: Distance of the outputs from the float model's.
            runtime: How models are run.
            stages: Reports the progress.
        """
        report = TuningReport(
            method=self.tuning.parameters.type, images=len(self.images), held_out_images=len(self.held_out)
        )
        try:
            module = make_module(network)
            with stages.stage("tuning", self.tuning.steps) as advance:
                task = TuningTask(
                    module, self.images, scores, runtime.threads, runtime.batch_size, self.checkpoint, advance
                )
                self.tuning.tune(task)
            check_finite(module)
            table = trained_table(module)
            tuned = trained_model(module, table)
        except QuantizationError as error:
            _logger.warning("the model is not tuned: %s", error)
            return Tuned(report.model_copy(update={"reason": str(error)}))
        with stages.stage("held-out images"):
            values = self._values([network.model, tuned], network.quantizable.model, scores, runtime)
        self.checkpoint.remove()
        difference = paired_difference(values[1], values[0])
        kept = bool(difference.mean < -STANDARD_ERRORS * difference.error)
        report = report.model_copy(
            update={
                "before": mean_score(values[0]),
                "after": mean_score(values[1]),
                "difference": difference.mean,
                "standard_error": difference.error,
                "kept": kept,
            }
        )
        return Tuned(report, tuned, table) if kept else Tuned(report)

    def _values(
        self, models: list[ov.Model], float_model: ov.Model, scores: OutputScores, runtime: RuntimeConfig
    ) -> list[NDArray[np.float64]]:
        """Values of the held-out images by each model."""

        def outputs(model: ov.Model) -> tuple[NDArray[np.float32], ...]:
            run = ModelRunner.compile(model, threads=runtime.threads, batch_size=runtime.batch_size)
            return run(self.held_out.arrays)

        reference = outputs(float_model)
        return [scores.values(outputs(model), reference, len(self.held_out)) for model in models]


def images_needed(compression: CompressionConfig) -> int:
    """Largest number of calibration images that a configuration has a use for."""
    count = compression.initializer.num_init_samples
    return count if compression.tuning is None else max(count, TUNINGS.create(compression.tuning).parameters.images)


def open_tuning(
    compression: CompressionConfig,
    dataset: nncf.Dataset,
    model: ov.Model,
    checkpoint: Checkpoint | None = None,
) -> tuple[Samples, TuningStage | None]:
    """Reads the calibration images, and those of the tuning where one is asked for.

    The held-out images are taken from those that the calibration leaves, or where there are not enough of them, from
    its last ones: they are not calibrated on.

    Args:
        compression: That section of the configuration.
        dataset: The calibration images.
        model: The float model.
        checkpoint: Where unfinished work is kept.

    Returns:
        The samples for the statistics, and the stage.

    Raises:
        QuantizationError: There are too few images, the tuning cannot run on this machine, or the model has an
            operation that is not known in PyTorch.
    """
    tuning = None if compression.tuning is None else TUNINGS.create(compression.tuning)
    if tuning is not None:
        tuning.check()
        # An unknown operation should not cost a search.
        TorchGraph(model)
    images = collect_images(dataset, images_needed(compression), model)
    if tuning is None:
        return images, None
    count = len(images)
    if count < LEAST_IMAGES:
        raise QuantizationError(f"tuning: found {count} calibration images, allowed: {LEAST_IMAGES} or more")
    held_out = min(max(count // _HELD_OUT_SHARE, LEAST_IMAGES // 2), _MOST_HELD_OUT)
    first = min(compression.initializer.num_init_samples, count - held_out)
    # Evenly: a data set may be sorted.
    chosen = first + np.arange(held_out) * (count - first) // held_out
    # A copy without the held-out images: the statistics look at its first ones.
    others = images[np.setdiff1d(np.arange(count), chosen)]
    if len(others) < FEW_IMAGES:
        _logger.warning(
            "tuning: %d images are few: what is learned from fewer than %d seldom holds on others; more calibration "
            "images (dataset.split.calibration) cost no time",
            len(others),
            FEW_IMAGES,
        )
    return others[:first], TuningStage(tuning, others, images[chosen], checkpoint or Checkpoint())
