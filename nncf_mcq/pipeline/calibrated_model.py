"""A model prepared once and asked many times: layers, statistics, weight tables, models of policies."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import openvino as ov
import torch

from nncf_mcq.calibration.statistics import ModelStatistics, collect_statistics
from nncf_mcq.config.parameters import NamedParameters
from nncf_mcq.config.schema import CompressionConfig
from nncf_mcq.ir.assemble import assemble, fixed_bytes
from nncf_mcq.ir.template import place_activation_quantizers, shared_grids
from nncf_mcq.latency.budget import LatencyCheck, LatencyLimit, find_limit
from nncf_mcq.model.layers import QuantizableModel, find_layers
from nncf_mcq.model.samples import AnySamples, Samples, as_samples, input_shapes
from nncf_mcq.pipeline.activation_templates import ActivationTemplates
from nncf_mcq.pipeline.curvature import Curvature
from nncf_mcq.pipeline.equalization import equalize
from nncf_mcq.policy import Policy
from nncf_mcq.precision_init.costs import CostModel
from nncf_mcq.range_init.selection import select_ranges
from nncf_mcq.utils.progress import Stages
from nncf_mcq.weights.scheme import WeightScheme
from nncf_mcq.weights.sequential import requantize_sequentially
from nncf_mcq.weights.trellis import settle_coding
from nncf_mcq.weights.weight_table import WeightTable, build_weight_table

Choices = Mapping[str, tuple[int, ...]]
"""Group name to the bit-widths that a policy chooses from, see `QuantizableModel.choices`."""

Check = Callable[[CostModel, Choices], None]


@dataclass(frozen=True, eq=False)
class CalibratedModel:
    """A float model with its calibration statistics; makes weight tables and the models of policies.

    What is computed on demand is kept by `activations` and `curvature`, which hold all that it depends on: a copy that
    `dataclasses.replace` makes with another `scheme` shares it.

    Attributes:
        float_model: As it was given.
        quantizable: Its layers, and a model that computes the same: inputs of layers may have scales, see `equalize`.
        calibration: The calibration samples.
        statistics: Of these images.
        scheme: How weights are quantized.
        activations: Ranges of activations, and models with quantized activations.
        curvature: Fisher information of the layers.
        choices: What a policy decides.
        threads: Of OpenVINO and PyTorch.
        limit: The budget of latency, if there is one.
        purpose: Appended to the names of the stages, where a second calibrated model is made.
    """

    float_model: ov.Model = field(repr=False)
    quantizable: QuantizableModel
    calibration: Samples = field(repr=False)
    statistics: ModelStatistics = field(repr=False)
    scheme: WeightScheme
    activations: ActivationTemplates = field(repr=False)
    curvature: Curvature = field(repr=False)
    choices: Choices = field(repr=False)
    threads: int
    limit: LatencyLimit | None = field(default=None, repr=False)
    purpose: str = ""

    @classmethod
    def prepare(
        cls,
        model: ov.Model,
        calibration: AnySamples,
        compression: CompressionConfig,
        threads: int,
        stages: Stages,
        check: Check = lambda costs, choices: None,
        moment_images: int | None = None,
        weight_bits: Sequence[int] | None = None,
    ) -> CalibratedModel:
        """Finds the layers, scales their inputs and collects the statistics.

        Args:
            model: Float model.
            calibration: Samples of it.
            compression: That section of the configuration.
            threads: Of OpenVINO and PyTorch.
            stages: Reports the progress.
            check: Called with the costs of policies, as far as the layers alone tell them, and with what a policy
                decides, before anything is computed.
            moment_images: Number of samples that the moments of the layers' inputs are made from; None for all.
            weight_bits: Bit-widths that weights may get; those of the configuration by default.

        Raises:
            ConfigError: A scope of the configuration matches nothing, or its budget of latency cannot be used.
        """
        widths, calibration = compression.activations.widths, as_samples(calibration)
        with stages.stage("layers"):
            quantizable = find_layers(model, compression.ignored_scopes, compression.activations.per_channel)
            fake_quantized: ov.Model | None = None
            if len(widths) > 1:
                # What a policy decides depends on it. Otherwise NNCF solves it once, for the model with scales.
                quantizable, fake_quantized = _place(quantizable, widths)
            # Before any pass over the images: a misspelt layer should not cost one.
            ranges = select_ranges(compression.initializer.range, quantizable.layers)
        budget = compression.initializer.precision.limits
        limit = find_limit(budget, widths, quantizable, threads, stages)
        with_float = limit is not None
        choices = quantizable.choices(compression.weights.bits, widths, with_float=with_float)
        table = None if limit is None else limit.table
        check(CostModel(quantizable, _uniform(quantizable, widths[-1]), None, table), choices)
        bits = weight_bits or compression.weights.bits
        # A budget of latency is kept by layers as they were measured, without further operations.
        scaled = equalize(quantizable, calibration, compression, bits, threads, stages, multiplications=not with_float)
        if fake_quantized is None or scaled is not quantizable:
            quantizable, fake_quantized = _place(scaled, widths)
            choices = quantizable.choices(compression.weights.bits, widths, with_float=with_float)
        statistics = _observe(quantizable, calibration, threads, stages, "statistics", moment_images)
        firsts = [members[0] for members in quantizable.groups.values()]
        return cls(
            float_model=model,
            quantizable=quantizable,
            calibration=calibration,
            statistics=statistics,
            scheme=WeightScheme(settle_coding(compression, firsts), compression.correction, ranges),
            activations=ActivationTemplates(
                quantizable, fake_quantized, statistics.activations, compression.activations
            ),
            curvature=Curvature(quantizable, calibration, threads),
            choices=choices,
            threads=threads,
            limit=limit,
        )

    def observe(self, calibration: AnySamples, stages: Stages, purpose: str) -> CalibratedModel:
        """A second calibrated model for the same layers, with the statistics of other images.

        Args:
            calibration: The samples.
            stages: Reports the progress.
            purpose: Appended to the names of the stages.
        """
        calibration = as_samples(calibration)
        statistics = _observe(self.quantizable, calibration, self.threads, stages, f"statistics{purpose}")
        return dataclasses.replace(
            self,
            calibration=calibration,
            statistics=statistics,
            activations=self.activations.observe(statistics.activations),
            curvature=Curvature(self.quantizable, calibration, self.threads),
            purpose=purpose,
        )

    def with_activation_rule(self, rule: NamedParameters | None) -> CalibratedModel:
        """A copy with another range initializer for activations of 8 bits; None keeps the configured one."""
        return self if rule is None else dataclasses.replace(self, activations=self.activations.with_rule(rule))

    def weight_table(self, bits: Sequence[int] | Mapping[str, int], stages: Stages) -> WeightTable:
        """Clips, rounds and corrects all weights at the given bit-widths, or each layer's at its own."""
        fisher = self._fisher(stages)
        with stages.stage(f"weight table{self.purpose}", len(self.quantizable.layers)) as advance:
            return build_weight_table(
                self.quantizable,
                self.statistics.layers,
                self.scheme,
                bits,
                fisher=fisher,
                threads=self.threads,
                progress=advance,
            )

    def requantize_sequentially(self, policy: Policy, table: WeightTable, stages: Stages) -> WeightTable:
        """The final pass over a policy's weights: each layer for the inputs that the quantized ones before it yield."""
        fisher = self._fisher(stages)
        with stages.stage(f"sequential pass{self.purpose}", len(self.quantizable.layers)) as advance:
            return requantize_sequentially(
                self.quantizable,
                lambda changed: self.build(policy, changed, packed=False),
                policy,
                table,
                self.calibration,
                self.statistics.layers,
                self.scheme,
                fisher=fisher,
                threads=self.threads,
                progress=advance,
            )

    def build(self, policy: Policy, table: WeightTable, *, packed: bool = True) -> ov.Model:
        """The quantized model of a policy.

        Args:
            policy: Bits of every layer and activation quantizer.
            table: Its weights.
            packed: As it is shipped; otherwise in a form that is compiled faster and computes the same.
        """
        template = self.activations.model(policy.activation_bits)
        return assemble(
            template,
            self.quantizable,
            policy,
            table,
            packed=packed,
            packed_fully_connected=self.scheme.weights.fully_connected == "packed",
        )

    def costs(self, table: WeightTable) -> CostModel:
        """Costs of policies with the configured activation bits."""
        bits = self.activation_bits
        return CostModel(
            self.quantizable,
            bits,
            lambda: fixed_bytes(lambda policy: self.build(policy, table), self.quantizable, table, bits),
            None if self.limit is None else self.limit.table,
            weights=self.scheme.weights,
        )

    def check_latency(self, quantized: ov.Model, policy: Policy, stages: Stages) -> LatencyCheck | None:
        """Measures the quantized model of a policy where there is a budget of latency."""
        if self.limit is None:
            return None
        with stages.stage("latency"):
            return self.limit.check(quantized, policy, self.quantizable, self.activations.fake_quantized)

    @property
    def activation_bits(self) -> dict[str, int]:
        """Every activation quantizer at the configured bit-width, the largest where there is a choice."""
        return _uniform(self.quantizable, self.activations.config.largest)

    def _fisher(self, stages: Stages) -> dict[str, torch.Tensor] | None:
        """The layers' Fisher information, computed when a rule needs it for the first time; None if none does."""
        if not self.scheme.ranges.needs_fisher:
            return None
        if self.curvature.has_fisher:
            return self.curvature.fisher(stages.report)
        with stages.stage(f"fisher information{self.purpose}", len(self.curvature.images)):
            return self.curvature.fisher(stages.report)


def _place(quantizable: QuantizableModel, activation_bits: Sequence[int]) -> tuple[QuantizableModel, ov.Model]:
    """The model with its activation quantizers in place, and its layers with what is known from there."""
    fake_quantized = place_activation_quantizers(quantizable)
    if len(activation_bits) > 1:
        # Activations that get one grid anyway are one choice: a policy would say less bits than there are.
        grids = shared_grids(fake_quantized, quantizable.activation_points)
        quantizable = dataclasses.replace(quantizable, shared_grids=grids)
    return quantizable, fake_quantized


def _uniform(quantizable: QuantizableModel, bits: int) -> dict[str, int]:
    """Every activation quantizer at one bit-width."""
    return {point.name: bits for point in quantizable.activation_points}


def _observe(
    quantizable: QuantizableModel,
    calibration: Samples,
    threads: int,
    stages: Stages,
    stage: str,
    moment_images: int | None = None,
) -> ModelStatistics:
    with stages.stage(stage, len(calibration)) as advance:
        shapes = input_shapes(quantizable.model)
        inputs = (calibration.tensors(index, shapes) for index in range(len(calibration)))
        return collect_statistics(quantizable, inputs, threads=threads, moment_images=moment_images, progress=advance)
