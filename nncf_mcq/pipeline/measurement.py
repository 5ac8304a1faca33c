"""What a result says of the float and the quantized model: costs of the policy, and metrics on the test images."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, TypeAlias

import nncf
import openvino as ov

from nncf_mcq.calibration.images import iterate_images
from nncf_mcq.config.output_files import FloatWeight
from nncf_mcq.config.quality_report import OutputKind, QualityReport
from nncf_mcq.data.splits import NO_TARGET
from nncf_mcq.ir.float_weights import average_weight_bits
from nncf_mcq.metrics.report import Report
from nncf_mcq.model.inference import compile_model
from nncf_mcq.model.samples import Arrays, Samples
from nncf_mcq.policy import Policy
from nncf_mcq.precision_init.costs import CostModel

Metrics: TypeAlias = dict[str, dict[str, float]]
"""`float` and `quantized`: metric name to value."""

Evaluate = Callable[[ov.CompiledModel], Mapping[str, float]]
"""Metrics of a compiled model by name, e.g. `{"top1": 0.76}`; called for the float and the quantized model."""


def with_costs(
    measured: Mapping[str, Mapping[str, float]], costs: CostModel, policy: Policy, floats: Sequence[FloatWeight]
) -> Metrics:
    """The metrics of a result: bits and bit operations of the policy, and what was measured.

    Args:
        measured: `float` and `quantized`: metric name to value; either may be missing.
        costs: Of the model's policies.
        policy: The policy.
        floats: The weights that stay in floating point.
    """
    bits = {"average_weight_bits": average_weight_bits(costs.quantizable, policy, floats), "bops": costs.bops(policy)}
    return {"float": {**measured.get("float", {})}, "quantized": {**bits, **measured.get("quantized", {})}}


class Measurement(NamedTuple):
    """Measurement of the float and of the quantized model.

    Attributes:
        metrics: `float` and `quantized`: metric name to value.
        quality: How close the outputs come to the float model's; None where no images were run.
    """

    metrics: Metrics
    quality: QualityReport | None = None


CALIBRATION_IMAGES = 16
"""Calibration images that a model is measured on where there are no others."""


@dataclass(frozen=True)
class Measure:
    """Measures the float and the quantized model for the result; as in `quantize`.

    Attributes:
        threads: Inference threads.
        report_dataset: Inputs that nothing else saw.
        evaluate: Metrics of the caller's own.
        kinds: Name of an output to what it is, where the configuration says so.
    """

    threads: int
    report_dataset: nncf.Dataset | None
    evaluate: Evaluate | Report | None
    kinds: Mapping[str, OutputKind] = field(default_factory=dict)

    @property
    def has_images(self) -> bool:
        """Whether there is anything to measure on."""
        return self.report_dataset is not None or self.evaluate is not None

    def __call__(self, float_model: ov.Model, quantized: ov.Model, calibration: Samples | None = None) -> Measurement:
        """Runs both models on the images that there are.

        Args:
            float_model: The float model.
            quantized: The quantized one.
            calibration: Samples of the calibration, for a report of quality where there are no images that nothing
                else saw; it then says so, and `metrics` has nothing of them.
        """
        metrics: Metrics = {"float": {}, "quantized": {}}
        quality: QualityReport | None = None
        if self.report_dataset is not None:
            report = Report(
                functools.partial(_unlabelled, self.report_dataset, float_model), {}, self.threads, kinds=self.kinds
            )
            metrics["float"] |= report(float_model)
            found = report.measure(quantized)
            metrics["quantized"] |= found.metrics
            quality = found.quality
        if isinstance(self.evaluate, Report):
            metrics["float"] |= self.evaluate(float_model)
            found = self.evaluate.measure(quantized)
            metrics["quantized"] |= found.metrics
            quality = quality or found.quality
        elif self.evaluate is not None:
            for name, model in (("float", float_model), ("quantized", quantized)):
                metrics[name] |= self.evaluate(compile_model(model, self.threads))
        if quality is None and calibration is not None:
            quality = self._on_calibration(float_model, quantized, calibration[:CALIBRATION_IMAGES])
        return Measurement(metrics, quality)

    def _on_calibration(self, float_model: ov.Model, quantized: ov.Model, samples: Samples) -> QualityReport | None:
        pairs = [(row if len(row) > 1 else row[0], NO_TARGET) for row in zip(*samples.arrays, strict=True)]
        report = Report(lambda: pairs, {}, self.threads, kinds=self.kinds, images="calibration")
        report(float_model)
        return report.measure(quantized).quality


def _unlabelled(dataset: nncf.Dataset, model: ov.Model) -> Iterator[tuple[Arrays, int]]:
    """The samples of a data set, without targets."""
    return ((sample, NO_TARGET) for sample in iterate_images(dataset, model))
