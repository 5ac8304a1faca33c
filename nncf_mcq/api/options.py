"""What a quantization and a front are given beside the model, the calibration images and the configuration."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import nncf
import openvino as ov

from nncf_mcq.config.schema import Config
from nncf_mcq.data.splits import Target
from nncf_mcq.metrics.output_scores import ScoreChoice
from nncf_mcq.metrics.report import Report
from nncf_mcq.pipeline.measurement import Evaluate, Measure
from nncf_mcq.pipeline.preparation import Preparation, prepare
from nncf_mcq.precision_init.base import PrecisionInitializer
from nncf_mcq.training.tuning import Checkpoint, TuningStage, open_tuning
from nncf_mcq.utils.progress import ProgressReporter, SilentProgress, Stages


@dataclass(frozen=True)
class RunOptions:
    """Arguments that `quantize` and `pareto` share; `quantize` describes them.

    Attributes:
        search_dataset: Inputs that policies are scored on.
        search_targets: Targets of these.
        report_dataset: Inputs that nothing else saw.
        evaluate: Metrics of the caller's own.
        score: Distance of the outputs from the float model's.
        progress: Shows progress.
    """

    search_dataset: nncf.Dataset | None = None
    search_targets: Sequence[Target] | None = None
    report_dataset: nncf.Dataset | None = None
    evaluate: Evaluate | Report | None = None
    score: ScoreChoice = None
    progress: ProgressReporter | None = None

    def stages(self) -> Stages:
        """Stages that report to the caller."""
        return Stages(self.progress or SilentProgress())

    def measure(self, settings: Config) -> Measure:
        """The measurement for the result."""
        return Measure(settings.runtime.threads, self.report_dataset, self.evaluate, settings.outputs)

    def prepare(
        self,
        float_model: ov.Model,
        calibration_dataset: nncf.Dataset,
        settings: Config,
        initializer: PrecisionInitializer,
        stages: Stages,
        checkpoint: Checkpoint | None = None,
    ) -> tuple[Preparation, TuningStage | None]:
        """Reads the calibration images and prepares the search, and the tuning where one is asked for.

        Args:
            float_model: In its normal form.
            calibration_dataset: As in `quantize`.
            settings: The configuration.
            initializer: Finds each layer's bits.
            stages: Reports the progress.
            checkpoint: Where an unfinished tuning is kept.
        """
        calibration, tuning = open_tuning(settings.compression, calibration_dataset, float_model, checkpoint)
        targets = self.search_targets
        if tuning is not None and self.search_dataset is None and targets is not None:
            # The images that are held out for the tuning are not scored.
            targets = targets[: len(calibration)]
        prepared = prepare(
            float_model,
            calibration,
            settings.compression,
            settings.runtime,
            initializer,
            stages,
            search_dataset=self.search_dataset,
            search_targets=targets,
            score=self.score,
            output_kinds=settings.outputs,
        )
        return prepared, tuning
