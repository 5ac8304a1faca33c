"""`quantize`: the whole journey from a float model to a verified low-bit IR."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import nncf
import openvino as ov
from optuna.storages import BaseStorage

from nncf_mcq.calibration.images import collect_images, iterate_images
from nncf_mcq.config.registry import PRECISION_INITIALIZERS
from nncf_mcq.config.schema import Config, load_config
from nncf_mcq.errors import ConfigError
from nncf_mcq.latency.budget import check_latency, latency_budget
from nncf_mcq.metrics.scores import Score
from nncf_mcq.model import int8
from nncf_mcq.model.inference import compile_model, predict
from nncf_mcq.model.loading import to_openvino
from nncf_mcq.pipeline.final_weights import make_final_weights
from nncf_mcq.pipeline.preparation import prepare
from nncf_mcq.policy import Policy
from nncf_mcq.precision_init.costs import CostModel
from nncf_mcq.precision_init.study import StudyStorage
from nncf_mcq.result import QuantizationResult, describe_layers, label_free_metrics, search_report
from nncf_mcq.utils.progress import ProgressReporter, SilentProgress, Stages
from nncf_mcq.weights.histograms import weight_histograms

if TYPE_CHECKING:
    import torch

VERIFICATION_IMAGES = 16
"""Calibration images on which a saved file must equal the scored model."""

Evaluate = Callable[[ov.CompiledModel], Mapping[str, float]]
"""Metrics of a compiled model by name, e.g. `{"top1": 0.76}`; called for the float and the quantized model."""


def quantize(
    model: torch.nn.Module | ov.Model,
    calibration_dataset: nncf.Dataset,
    config: Config | Mapping[str, Any] | str | Path | None = None,
    *,
    example_input: Any = None,
    search_dataset: nncf.Dataset | None = None,
    report_dataset: nncf.Dataset | None = None,
    evaluate: Evaluate | None = None,
    score: Score | None = None,
    progress: ProgressReporter | None = None,
    study_storage: str | Path | BaseStorage | None = None,
    study_name: str | None = None,
    resume: bool = False,
) -> QuantizationResult:
    """Quantizes a convolutional network to mixed precision. No labels are needed.

    Args:
        model: A torch module or a float `openvino.Model` with one input; not edited.
        calibration_dataset: Inputs for the statistics; the first `num_init_samples` images are used.
        config: The configuration, as a path, a mapping or typed; only its `compression`, `input_info` and `runtime` are
            read. Default: uniform 8 bits.
        example_input: Tensor to trace a torch module with; zeros of `input_info.sample_size` by default.
        search_dataset: Inputs that policies are scored on. By default a search scores on one half of the calibration
            images, with weights rounded for the other half, and so does the choice whether the final weights come from
            the sequential pass; the final weights are rounded for all of them.
        report_dataset: Inputs that nothing else saw, for the agreement and divergence in the result.
        evaluate: Metrics of the caller's own, for the result.
        score: Distance of a policy's outputs from the float outputs, lower is better; by default the KL divergence for
            classifiers, else the relative squared error.
        progress: Shows progress; silent by default.
        study_storage: Where every score is kept as soon as it is known, for initializers that score policies: a journal
            file, a URL of Optuna, or an Optuna storage. By default in memory only.
        study_name: Of the search in the storage, which may hold several; numbered by default.
        resume: Go on with the newest search of this model, these images and this configuration in the storage; a fresh
            start where there is none. The number of evaluations may be another.

    Returns:
        The model, its policy and what was measured; `save(directory)` writes the IR and verifies it.

    Raises:
        ConfigError: The configuration cannot be used.
        BudgetError: No policy meets the budget.
        QuantizationError: The model or the data cannot be quantized.
    """
    settings = load_config(config if config is not None else {})
    initializer = settings.compression.initializer
    stages = Stages(progress or SilentProgress())
    measure = _Measure(settings.runtime.threads, report_dataset, evaluate)
    if settings.compression.algorithm == int8.ALGORITHM:
        float_model = to_openvino(model, settings.sample_size, example_input)
        return _quantize_int8(float_model, calibration_dataset, settings, measure, stages)
    precision_initializer = PRECISION_INITIALIZERS.create(initializer.precision)
    storage = _open_storage(study_storage, study_name, resume) if precision_initializer.searches else None
    float_model = to_openvino(model, settings.sample_size, example_input)
    prepared = prepare(
        float_model,
        calibration_dataset,
        settings,
        precision_initializer,
        stages,
        search_dataset=search_dataset,
        score=score,
    )
    calibrated, costs = prepared.calibrated, prepared.costs
    task = prepared.task(stages, storage=storage)
    evaluator = task.evaluator
    with stages.stage("precision search"):
        found = precision_initializer.find_policy(task)
        search_score = evaluator.score(found.policy) if precision_initializer.searches else None
    final = make_final_weights(found.policy, prepared, evaluator, stages)
    quantized = calibrated.build(found.policy, final.table)

    budget, table = latency_budget(settings), calibrated.latency
    latency = None
    if budget is not None and table is not None:
        # Finalists are measured: a prediction is good for a search only.
        with stages.stage("latency"):
            latency = check_latency(
                quantized,
                found.policy,
                calibrated.quantizable,
                calibrated.fake_quantized,
                table,
                budget,
                settings.runtime.threads,
            )

    with stages.stage("report"):
        metrics = measure(float_model, quantized, costs, found.policy)
    return QuantizationResult(
        model=quantized,
        float_model=float_model,
        policy=found.policy,
        config=settings,
        metrics=metrics,
        layers=describe_layers(calibrated.quantizable, found.policy, final.table),
        search=search_report(
            initializer.precision.type, found, task, search_score, len(prepared.images), final, latency
        ),
        seconds=stages.seconds,
        verification_images=calibrated.calibration[:VERIFICATION_IMAGES],
        histograms=weight_histograms(calibrated.quantizable, found.policy, final.table, settings.compression.weights),
    )


def _quantize_int8(
    float_model: ov.Model, calibration_dataset: nncf.Dataset, config: Config, measure: _Measure, stages: Stages
) -> QuantizationResult:
    shape = tuple(float_model.input(0).get_shape())
    images = collect_images(calibration_dataset, config.compression.initializer.num_init_samples, shape)
    quantizable, quantized = int8.quantize_int8(float_model, images, config.compression, stages)
    policy = int8.int8_policy(quantizable)
    with stages.stage("report"):
        metrics = measure(float_model, quantized, CostModel(quantizable, policy.activation_bits, None), policy)
    return QuantizationResult(
        model=quantized,
        float_model=float_model,
        policy=policy,
        config=config,
        metrics=metrics,
        layers=describe_layers(quantizable, policy),
        search=int8.int8_search_report(),
        seconds=stages.seconds,
        verification_images=images[:VERIFICATION_IMAGES],
    )


@dataclass(frozen=True)
class _Measure:
    """Measures the float and the quantized model for the result; as in `quantize`."""

    threads: int
    report_dataset: nncf.Dataset | None
    evaluate: Evaluate | None

    def __call__(
        self, float_model: ov.Model, quantized: ov.Model, costs: CostModel, policy: Policy
    ) -> dict[str, dict[str, float]]:
        metrics: dict[str, dict[str, float]] = {"float": {}, "quantized": {}}
        metrics["quantized"]["average_weight_bits"] = costs.average_bits(policy)
        metrics["quantized"]["bops"] = costs.bops(policy)
        if self.report_dataset is not None:
            shape = tuple(float_model.input(0).get_shape())
            # One image at a time: a report may have more of them than fit into memory.
            outputs, expected = (
                predict(compile_model(item, self.threads), iterate_images(self.report_dataset, shape))
                for item in (quantized, float_model)
            )
            metrics["quantized"] |= label_free_metrics(outputs, expected)
        if self.evaluate is not None:
            metrics["float"] |= self.evaluate(compile_model(float_model, self.threads))
            metrics["quantized"] |= self.evaluate(compile_model(quantized, self.threads))
        return metrics


def _open_storage(storage: str | Path | BaseStorage | None, name: str | None, resume: bool) -> StudyStorage | None:
    if storage is not None:
        return StudyStorage(storage, mode="resume" if resume else "new", name=name)
    if resume or name is not None:
        raise ConfigError("study_storage", None, "a journal file or a URL, to resume from or to name a search in")
    return None
