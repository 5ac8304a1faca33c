"""A whole job from a configuration file: model, images, quantization and report."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import nncf
import numpy as np
import openvino as ov
from optuna.storages import BaseStorage

from nncf_mcq.api import RunOptions, pareto_normalized, quantize_normalized
from nncf_mcq.api.nncf_int8 import compared_with_nncf_int8
from nncf_mcq.calibration.images import collect_images
from nncf_mcq.config.output_files import Origin
from nncf_mcq.config.schema import Config, load_config
from nncf_mcq.config.search_report import DatasetReport
from nncf_mcq.data.chunks import iterate_samples
from nncf_mcq.data.datasets import DatasetSplits, ImageDataset
from nncf_mcq.data.job_source import JobSource
from nncf_mcq.data.splits import NO_TARGET, Target, sample_name
from nncf_mcq.metrics.metrics import get_metric
from nncf_mcq.metrics.named_scores import named_score
from nncf_mcq.metrics.output_scores import KIND_SCORES, ScoreChoice
from nncf_mcq.metrics.report import Report
from nncf_mcq.model.samples import Samples
from nncf_mcq.pareto_front import ParetoFront
from nncf_mcq.pipeline.calibrated_model import CalibratedModel
from nncf_mcq.pipeline.module_scopes import has_module_scopes, with_layer_names
from nncf_mcq.pipeline.preparation import Preparation, prepare
from nncf_mcq.precision_init.base import PRECISION_INITIALIZERS, PrecisionInitializer
from nncf_mcq.precision_init.study import Subject
from nncf_mcq.result import QuantizationResult
from nncf_mcq.utils.memory import check_memory
from nncf_mcq.utils.progress import ProgressReporter, SilentProgress, Stages


@dataclass(frozen=True)
class JobInputs:
    """Everything that a job reads.

    Attributes:
        splits: The images.
        model: The float model, of batch size 1.
        report: Measurement on the test images.
        seconds: Wall time by stage of making images, where there are none.
    """

    splits: DatasetSplits
    model: ov.Model
    report: Report
    seconds: Mapping[str, float]


@dataclass(frozen=True)
class Job(JobSource):
    """Quantization job that a configuration file describes.

    Attributes:
        config: The whole configuration, with the paths in it made absolute.
    """

    config: Config

    @staticmethod
    def _checked(data: Mapping[str, object]) -> Config:
        return load_config(data)

    def with_layer_names(self) -> Job:
        """The job with layers in the place of the torch modules that a file of NNCF 2 names."""
        config = self.config
        is_named = not has_module_scopes(config)
        return self if is_named else Job(with_layer_names(config, self.load_model()), self.base_directory)

    def prepare(self, stages: Stages) -> Preparation:
        """Prepares a search: all that it starts from.

        Args:
            stages: Reports the progress.
        """
        splits = self.load_dataset(stages)
        initializer, model = self.initializer(), self.openvino_model()
        return prepare(
            model,
            self.calibration_images(model, splits),
            self.config.compression,
            self.config.runtime,
            initializer,
            stages,
            search_dataset=_nncf_datasets(splits)[1],
            search_targets=self.search_targets(splits),
            score=self.score(),
            output_kinds=self.config.outputs,
        )

    def search_targets(self, splits: DatasetSplits) -> list[Target] | None:
        """The targets of the images that policies are scored on, where the goal needs them and all are known."""
        aim = self.config.compression.initializer.precision.aim
        return None if aim is None or aim.metric is None else self._known_targets(splits)

    def _known_targets(self, splits: DatasetSplits) -> list[Target] | None:
        """The targets of the images that policies are scored on, where all are known."""
        if not splits.has_targets:
            return None
        count, limit = len(splits.search), self.config.compression.initializer.num_init_samples
        used = min(count, limit) if splits.search is splits.calibration else count
        targets = [splits.search[index][1] for index in range(used)]
        return None if any(isinstance(target, int) and target == NO_TARGET for target in targets) else targets

    def calibrate(self, model: ov.Model, splits: DatasetSplits, stages: Stages) -> CalibratedModel:
        """Collects the statistics of the calibration images, for no search in particular.

        Args:
            model: Of this job, with batch size 1.
            splits: Its images.
            stages: Reports the progress.
        """
        images, compression = self.calibration_images(model, splits), self.config.compression
        bits = self.initializer().required_bits(tuple(compression.weights.bits))
        return CalibratedModel.prepare(
            model, images, compression, self.config.runtime.threads, stages, weight_bits=bits
        )

    def calibration_images(self, model: ov.Model, splits: DatasetSplits) -> Samples:
        """The first `num_init_samples` calibration images."""
        dataset, limit = splits.calibration, self.config.compression.initializer.num_init_samples
        count, size = min(len(dataset), limit), _sample_bytes(dataset)
        path = "compression.initializer.num_init_samples"
        check_memory(path, limit, count * size, "a number of calibration images")
        return collect_images((_item(dataset, index) for index in range(len(dataset))), limit, model)

    def report(self, splits: DatasetSplits) -> Report:
        """Measurement of models on the test images.

        Raises:
            ConfigError: There is no metric of a configured name.
        """
        metrics = {name: get_metric(name) for name in self.config.metrics if splits.has_targets}
        samples = functools.partial(iterate_samples, splits.report)
        return Report(
            samples,
            metrics,
            self.config.runtime.threads,
            kinds=self.config.outputs,
            name_of=functools.partial(sample_name, splits.report),
        )

    def score(self) -> ScoreChoice:
        """The configured distances from the float outputs; None for the defaults.

        They raise ConfigError for outputs that they are not for.

        Raises:
            ConfigError: There is none of a configured name.
        """
        configured = self.config.score
        if isinstance(configured, str):
            return named_score(configured)
        kinds = {output: (named_score(KIND_SCORES[kind]), 1.0) for output, kind in self.config.outputs.items()}
        if configured is None:
            return kinds or None
        return kinds | {
            output: (None if entry.type is None else named_score(entry.type), entry.weight)
            for output, entry in configured.items()
        }

    def initializer(self) -> PrecisionInitializer:
        """Initializer that finds each layer's bits."""
        return PRECISION_INITIALIZERS.create(self.config.compression.initializer.precision)

    def run(
        self,
        progress: ProgressReporter | None = None,
        *,
        study_storage: str | Path | BaseStorage | None = None,
        study_name: str | None = None,
        resume: bool = False,
        tuning_checkpoint: Path | None = None,
        origin: Origin | None = None,
        inputs: JobInputs | None = None,
    ) -> QuantizationResult:
        """Quantizes the model and measures it on the test images.

        Args:
            progress: Shows progress.
            study_storage: See `quantize`, as for the others.
            study_name: Of the search in the storage.
            resume: Go on with the search in the storage, and with the tuning.
            tuning_checkpoint: File of an unfinished tuning.
            origin: The command that asks for it, for the result.
            inputs: What the job reads, where it has been read before.

        Raises:
            ConfigError: A metric or the score is not for the outputs of this model, among other mistakes.
        """
        found = inputs or self.inputs(progress)
        calibration, search = _nncf_datasets(found.splits)
        targets = self.search_targets(found.splits)
        result = quantize_normalized(
            found.model,
            calibration,
            self.config,
            RunOptions(search, targets, evaluate=found.report, score=self.score(), progress=progress),
            study_storage=study_storage,
            study_name=study_name,
            resume=resume,
            tuning_checkpoint=tuning_checkpoint,
        )
        return result.as_job(DatasetReport.model_validate(found.splits.describe()), found.seconds, origin)

    def compare_with_nncf_int8(
        self, result: QuantizationResult, inputs: JobInputs, progress: ProgressReporter | None = None
    ) -> QuantizationResult:
        """The result of `run` with the metrics of what `nncf.quantize` makes of the same model and images.

        Args:
            result: Of `run` with the same inputs.
            inputs: What the job reads.
            progress: Shows progress.
        """
        images = self.calibration_images(inputs.model, inputs.splits)
        return compared_with_nncf_int8(result, images, inputs.report, Stages(progress or SilentProgress()))

    def pareto(
        self,
        progress: ProgressReporter | None = None,
        *,
        points: int,
        known: Path | None = None,
        at: str | None = None,
        study_storage: str | Path | BaseStorage | None = None,
        check: Callable[[Subject], None] | None = None,
        origin: Origin | None = None,
    ) -> ParetoFront:
        """Finds the front of file size against loss; the models that are taken are measured on the test images.

        Args:
            progress: Shows progress.
            points: See `nncf_mcq.pareto`, as for the others.
            known: A pareto.json to go on from.
            at: A size that will be taken.
            study_storage: Where every score is kept.
            check: Is shown what the front is about before anything is scored, and may raise.
            origin: The command that asks for it, for the report and for results.

        Raises:
            ConfigError: A metric or the score is not for the outputs of this model, among other mistakes.
        """
        inputs = self.inputs(progress)
        splits = inputs.splits
        calibration, search = _nncf_datasets(splits)
        targets = self._known_targets(splits)
        front = pareto_normalized(
            inputs.model,
            calibration,
            self.config,
            RunOptions(search, targets, evaluate=inputs.report, score=self.score(), progress=progress),
            points=points,
            known=known,
            at=at,
            study_storage=study_storage,
            check=check,
        )
        return front.as_job(DatasetReport.model_validate(splits.describe()), inputs.seconds, origin)

    def inputs(self, progress: ProgressReporter | None = None) -> JobInputs:
        """Reads the images and the model, and finds metrics that are not for this model.

        Args:
            progress: Shows progress.
        """
        stages = Stages(progress or SilentProgress())
        splits = self.load_dataset(stages)
        model = self.openvino_model()
        report = self.report(splits)
        # Before anything else: it is measured last, and a metric of another kind of model should not cost a search.
        report.check(model)
        return JobInputs(splits, model, report, stages.seconds)


def _nncf_datasets(splits: DatasetSplits) -> tuple[nncf.Dataset, nncf.Dataset | None]:
    """The calibration images, and those of the search where they are others."""
    search = None if splits.search is splits.calibration else _as_nncf_dataset(splits.search)
    return _as_nncf_dataset(splits.calibration), search


def _as_nncf_dataset(dataset: ImageDataset) -> nncf.Dataset:
    return nncf.Dataset(range(len(dataset)), lambda index: _item(dataset, index))


def _sample_bytes(dataset: ImageDataset) -> int:
    """Bytes of the inputs of one sample."""
    inputs = dataset[0][0] if len(dataset) else np.zeros(0)
    return sum(values.nbytes for values in (inputs.values() if isinstance(inputs, Mapping) else [inputs]))


def _item(dataset: ImageDataset, index: int) -> object:
    """The inputs of a sample, with a batch of one."""
    inputs = dataset[index][0]
    return {name: values[None] for name, values in inputs.items()} if isinstance(inputs, Mapping) else inputs[None]
