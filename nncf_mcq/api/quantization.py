"""`quantize`: the whole journey from a float model to a verified low-bit IR."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import nncf
import openvino as ov
from optuna.storages import BaseStorage

from nncf_mcq.api.options import RunOptions
from nncf_mcq.calibration.images import collect_images
from nncf_mcq.completion import VERIFICATION_IMAGES, complete
from nncf_mcq.config.device import check_bits
from nncf_mcq.config.nncf2 import ALGORITHM as INT8_ALGORITHM
from nncf_mcq.config.schema import Config, load_config
from nncf_mcq.data.splits import Target
from nncf_mcq.errors import ConfigError
from nncf_mcq.ir.float_weights import find_float_weights
from nncf_mcq.metrics.output_scores import ScoreChoice
from nncf_mcq.metrics.report import Report
from nncf_mcq.model import int8
from nncf_mcq.model.loading import FloatModel, to_openvino
from nncf_mcq.model.samples import Samples
from nncf_mcq.pipeline.measurement import Evaluate, Measure, with_costs
from nncf_mcq.precision_init.base import PRECISION_INITIALIZERS
from nncf_mcq.precision_init.costs import CostModel
from nncf_mcq.precision_init.goal import check_goal
from nncf_mcq.precision_init.study import StudyStorage
from nncf_mcq.result import QuantizationResult, describe_layers
from nncf_mcq.training.tuning import Checkpoint
from nncf_mcq.utils.progress import ProgressReporter, Stages

_DEFAULTS = RunOptions()


def quantize(
    model: FloatModel,
    calibration_dataset: nncf.Dataset,
    config: Config | Mapping[str, object] | str | Path | None = None,
    *,
    example_input: Any = None,
    search_dataset: nncf.Dataset | None = None,
    search_targets: Sequence[Target] | None = None,
    report_dataset: nncf.Dataset | None = None,
    evaluate: Evaluate | Report | None = None,
    score: ScoreChoice = None,
    progress: ProgressReporter | None = None,
    study_storage: str | Path | BaseStorage | None = None,
    study_name: str | None = None,
    resume: bool = False,
    tuning_checkpoint: str | Path | None = None,
) -> QuantizationResult:
    """Quantizes a convolutional network to mixed precision. No labels are needed, unless a goal is a metric's drop.

    Args:
        model: A torch module or a float `openvino.Model`; not edited.
        calibration_dataset: Inputs for the statistics; the first `num_init_samples` samples are used. An item is an
            array or tensor, or for a model of several inputs a tuple or a dictionary by name of one for each.
        config: The configuration, as a path, a mapping or typed; only its `compression`, `input_info` and `runtime` are
            read. Default: uniform 8 bits.
        example_input: Tensor, or tuple or dictionary of tensors, to trace a torch module with; zeros of
            `input_info.sample_size` by default.
        search_dataset: Inputs that policies are scored on. By default a search scores on all calibration images: the
            weights rounded for each half of them on the other half. The choice whether the final weights come from the
            sequential pass is made on one of the halves; the final weights are rounded for all images.
        search_targets: Targets of the samples that policies are scored on, `search_dataset` or else the calibration
            samples that are used, for a goal such as `top1_drop`: class indices, or what the metric takes.
        report_dataset: Inputs that nothing else saw, for the agreement and divergence in the result.
        evaluate: Metrics of the caller's own, for the result; a `Report` runs the models itself.
        score: Distance of an output (N, ...) from the float model's, lower is better: one function for every output, or
            by name of an output its function, or (function, weight). By default each output gets the distance that
            suits it (`nncf_mcq.metrics.output_scores.default_score`), and a policy the sum of them.
        progress: Shows progress; silent by default.
        study_storage: Where every score is kept as soon as it is known, for initializers that score policies: a journal
            file, a URL of Optuna, or an Optuna storage. By default in memory only.
        study_name: Of the search in the storage, which may hold several; numbered by default.
        resume: Go on with the newest search of this model, these images and this configuration in the storage; a fresh
            start where there is none. The number of evaluations may be another. The same for the tuning.
        tuning_checkpoint: File that an unfinished tuning is kept in, and that is removed when it is done.

    Returns:
        The model, its policy and what was measured; `save(directory)` writes the IR and verifies it.

    Raises:
        ConfigError: The configuration cannot be used.
        BudgetError: No policy meets the budget.
        QuantizationError: The model or the data cannot be quantized.
    """
    settings = load_config({} if config is None else config)
    return quantize_normalized(
        to_openvino(model, settings.sample_size, example_input),
        calibration_dataset,
        settings,
        RunOptions(search_dataset, search_targets, report_dataset, evaluate, score, progress),
        study_storage=study_storage,
        study_name=study_name,
        resume=resume,
        tuning_checkpoint=tuning_checkpoint,
    )


def quantize_normalized(
    float_model: ov.Model,
    calibration_dataset: nncf.Dataset,
    settings: Config,
    options: RunOptions = _DEFAULTS,
    *,
    study_storage: str | Path | BaseStorage | None = None,
    study_name: str | None = None,
    resume: bool = False,
    tuning_checkpoint: str | Path | None = None,
) -> QuantizationResult:
    """Quantizes a model that `to_openvino` has brought to its normal form; otherwise as `quantize`."""
    compression = settings.compression
    is_baseline = compression.algorithm == INT8_ALGORITHM
    initializer = PRECISION_INITIALIZERS.create(compression.initializer.precision)
    searches = initializer.searches and not is_baseline
    if not is_baseline:
        check_goal(initializer.parameters.aim, has_targets=options.search_targets is not None)
    storage = _open_storage(study_storage, study_name, resume) if searches else None

    stages, measure = options.stages(), options.measure(settings)
    if is_baseline:
        calibration = collect_images(calibration_dataset, compression.initializer.num_init_samples, float_model)
        return _quantize_int8(float_model, calibration, settings, measure, stages)

    check_bits(
        initializer.required_bits(tuple(compression.weights.bits)),
        settings.target_device,
        "compression.initializer.precision",
    )
    checkpoint = None if tuning_checkpoint is None else Checkpoint(Path(tuning_checkpoint), resume)
    prepared, tuning = options.prepare(float_model, calibration_dataset, settings, initializer, stages, checkpoint)
    task = prepared.task(stages, storage=storage)
    with stages.stage("precision search"):
        found = initializer.find_policy(task)
        search_score: float | None = None
        try:
            search_score = task.evaluator.score(found.policy) if searches else None
        except KeyboardInterrupt:
            # The policy of an integer program was chosen from others' scores: it is used without its own.
            found = dataclasses.replace(found, ended_by="interrupted")
    return complete(found, search_score, prepared, task, settings, measure, stages, tuning)


def _quantize_int8(
    float_model: ov.Model, calibration: Samples, settings: Config, measure: Measure, stages: Stages
) -> QuantizationResult:
    """The baseline: NNCF's own INT8."""
    ignored_scopes = settings.compression.ignored_scopes
    quantizable, quantized = int8.quantize_int8(float_model, calibration, ignored_scopes, stages)
    policy = int8.int8_policy(quantizable)
    with stages.stage("report"):
        floats = find_float_weights(quantized, quantizable, policy)
        costs = CostModel(quantizable, policy.activation_bits, None)
        measured = measure(float_model, quantized, calibration)
        metrics = with_costs(measured.metrics, costs, policy, floats)
    return QuantizationResult(
        model=quantized,
        float_model=float_model,
        policy=policy,
        config=settings,
        metrics=metrics,
        layers=describe_layers(quantizable, policy),
        search=int8.int8_search_report(),
        seconds=stages.seconds,
        verification_images=calibration[:VERIFICATION_IMAGES],
        float_weights=floats,
        quality=measured.quality,
    )


def _open_storage(storage: str | Path | BaseStorage | None, name: str | None, resume: bool) -> StudyStorage | None:
    if storage is not None:
        return StudyStorage(storage, mode="resume" if resume else "new", name=name)
    if resume or name is not None:
        raise ConfigError("study_storage", None, "a journal file or a URL: resume and study_name need one")
    return None
