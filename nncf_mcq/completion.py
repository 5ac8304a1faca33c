"""From a policy to the quantized model that is saved: final weights, measurements, and the result."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import nncf
import openvino as ov

from nncf_mcq.calibration.images import iterate_images
from nncf_mcq.config.output_files import FloatWeight
from nncf_mcq.config.schema import Config
from nncf_mcq.data.splits import NO_TARGET
from nncf_mcq.ir.float_weights import average_weight_bits, find_float_weights
from nncf_mcq.metrics.report import Report
from nncf_mcq.model.inference import compile_model
from nncf_mcq.model.samples import Arrays
from nncf_mcq.pipeline.final_weights import make_final_weights
from nncf_mcq.pipeline.preparation import Preparation
from nncf_mcq.policy import Policy
from nncf_mcq.precision_init.base import PrecisionResult, PrecisionTask
from nncf_mcq.precision_init.costs import CostModel
from nncf_mcq.result import QuantizationResult, describe_layers, search_report
from nncf_mcq.utils.progress import Stages
from nncf_mcq.weights.histograms import weight_histograms

VERIFICATION_IMAGES = 16
"""Calibration images on which a saved file must equal the scored model."""

Evaluate = Callable[[ov.CompiledModel], Mapping[str, float]]
"""Metrics of a compiled model by name, e.g. `{"top1": 0.76}`; called for the float and the quantized model."""


def complete(
    found: PrecisionResult,
    search_score: float | None,
    prepared: Preparation,
    task: PrecisionTask,
    settings: Config,
    measure: Measure,
    stages: Stages,
) -> QuantizationResult:
    """Makes the final weights of a policy, builds its model and measures it.

    Args:
        found: The policy, and how it was found.
        search_score: Of the policy, where policies are scored.
        prepared: What the search started from.
        task: The task of the search, which knows what it has scored.
        settings: The configuration that led to the policy.
        measure: Of the float and the quantized model.
        stages: Reports the progress.
    """
    policy, calibrated = found.policy, prepared.calibrated
    float_model = calibrated.quantizable.model
    final = make_final_weights(policy, prepared, task.evaluator, stages)
    quantized = calibrated.build(policy, final.table)
    latency = calibrated.check_latency(quantized, policy, stages)
    with stages.stage("report"):
        floats = find_float_weights(quantized, calibrated.quantizable, policy)
        metrics = measure(float_model, quantized, prepared.costs, policy, floats)
    compression = settings.compression
    method = compression.initializer.precision.type
    return QuantizationResult(
        model=quantized,
        float_model=float_model,
        policy=policy,
        config=settings,
        metrics=metrics,
        layers=describe_layers(calibrated.quantizable, policy, final.table),
        search=search_report(method, found, task, search_score, prepared.images, final, latency),
        seconds=stages.seconds,
        verification_images=calibrated.calibration[:VERIFICATION_IMAGES],
        histograms=weight_histograms(calibrated.quantizable, policy, final.table, compression.weights),
        float_weights=floats,
    )


@dataclass(frozen=True)
class Measure:
    """Measures the float and the quantized model for the result; as in `quantize`."""

    threads: int
    report_dataset: nncf.Dataset | None
    evaluate: Evaluate | Report | None

    def __call__(
        self,
        float_model: ov.Model,
        quantized: ov.Model,
        costs: CostModel,
        policy: Policy,
        floats: Sequence[FloatWeight],
    ) -> dict[str, dict[str, float]]:
        metrics: dict[str, dict[str, float]] = {"float": {}, "quantized": {}}
        metrics["quantized"]["average_weight_bits"] = average_weight_bits(costs.quantizable, policy, floats)
        metrics["quantized"]["bops"] = costs.bops(policy)
        if self.report_dataset is not None:
            report = Report(functools.partial(_unlabelled, self.report_dataset, float_model), {}, self.threads)
            metrics["float"] |= report(float_model)
            metrics["quantized"] |= report(quantized)
        metrics["float"] |= self._evaluated(float_model)
        metrics["quantized"] |= self._evaluated(quantized)
        return metrics

    def _evaluated(self, model: ov.Model) -> Mapping[str, float]:
        if self.evaluate is None:
            return {}
        if isinstance(self.evaluate, Report):
            return self.evaluate(model)
        return self.evaluate(compile_model(model, self.threads))


def _unlabelled(dataset: nncf.Dataset, model: ov.Model) -> Iterator[tuple[Arrays, int]]:
    """The samples of a data set, without targets."""
    return ((sample, NO_TARGET) for sample in iterate_images(dataset, model))
