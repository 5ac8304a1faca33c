"""What a result says of the float and the quantized model: costs of the policy, and metrics on the test images."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import nncf
import openvino as ov

from nncf_mcq.calibration.images import iterate_images
from nncf_mcq.config.output_files import FloatWeight
from nncf_mcq.data.splits import NO_TARGET
from nncf_mcq.ir.float_weights import average_weight_bits
from nncf_mcq.metrics.report import Report
from nncf_mcq.model.inference import compile_model
from nncf_mcq.model.samples import Arrays
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


@dataclass(frozen=True)
class Measure:
    """Measures the float and the quantized model for the result; as in `quantize`."""

    threads: int
    report_dataset: nncf.Dataset | None
    evaluate: Evaluate | Report | None

    @property
    def has_images(self) -> bool:
        """Whether there is anything to measure on."""
        return self.report_dataset is not None or self.evaluate is not None

    def __call__(self, float_model: ov.Model, quantized: ov.Model) -> Metrics:
        metrics: Metrics = {"float": {}, "quantized": {}}
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
