"""What is prepared once for a model and asked many times: layers, statistics, weight tables, models of policies."""

from __future__ import annotations

import dataclasses
import itertools
import threading
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
import openvino as ov
import torch
from numpy.typing import NDArray

from nncf_mcq.calibration.fisher import FISHER_IMAGES, collect_fisher
from nncf_mcq.calibration.statistics import ModelStatistics, collect_statistics
from nncf_mcq.config.schema import Config
from nncf_mcq.ir.assemble import assemble, fixed_bytes
from nncf_mcq.ir.template import asymmetric_points, build_template, place_activation_quantizers, shared_grids
from nncf_mcq.latency.budget import latency_budget, table_for
from nncf_mcq.latency.table import LatencyTable
from nncf_mcq.model.algorithm import ValueRange
from nncf_mcq.model.layers import QuantizableModel, find_layers
from nncf_mcq.policy import INT8_BITS, Policy
from nncf_mcq.precision_init.costs import CostModel
from nncf_mcq.precision_init.second_order import SecondOrder, collect_hessian_traces
from nncf_mcq.range_init.activation import activation_ranges, relative_error
from nncf_mcq.range_init.activation.base import ACTIVATION_RANGE_INITIALIZERS
from nncf_mcq.range_init.selection import RangeSelection, select_ranges
from nncf_mcq.utils.progress import Stages
from nncf_mcq.utils.torch_threads import one_torch_thread
from nncf_mcq.weights.sequential import requantize_sequentially
from nncf_mcq.weights.weight_table import WeightTable, build_weight_table

Check = Callable[[CostModel, Mapping[str, tuple[int, ...]]], None]

_TEMPLATES = 8
"""So many models with quantized activations are kept: a search over their widths comes back to few of them."""


@dataclass
class CalibratedModel:
    """A float model with its calibration statistics; makes weight tables and the models of policies.

    Attributes:
        quantizable: The float model and its layers.
        fake_quantized: The same model with NNCF's quantizers in their places, their ranges and bits still open.
        statistics: Of the calibration images.
        config: The configuration.
        ranges: The configured clipping rule of each layer.
        calibration: (N, ...) the calibration images.
        purpose: Appended to the names of the stages, where a second calibrated model is made.
        latency: Times of the layers, where there is a budget of latency.
    """

    quantizable: QuantizableModel
    fake_quantized: ov.Model = field(repr=False)
    statistics: ModelStatistics
    config: Config
    ranges: RangeSelection
    calibration: NDArray[np.float32] = field(repr=False)
    purpose: str = ""
    latency: LatencyTable | None = field(default=None, repr=False)
    _templates: OrderedDict[tuple[tuple[str, int], ...], ov.Model] = field(default_factory=OrderedDict, repr=False)
    _activation_ranges: dict[int, dict[str, ValueRange]] = field(default_factory=dict, repr=False)
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False)
    _fisher: dict[str, torch.Tensor] | None = field(default=None, repr=False)

    @classmethod
    def prepare(
        cls,
        model: ov.Model,
        calibration: NDArray[np.float32],
        config: Config,
        stages: Stages,
        check: Check = lambda costs, choices: None,
    ) -> CalibratedModel:
        """Finds the layers and collects the statistics.

        Args:
            model: Float model of batch size 1.
            calibration: (N, ...) images.
            config: The configuration.
            stages: Reports the progress.
            check: Called with the costs of policies, as far as the layers alone tell them, and with what a policy
                decides, before anything is computed.

        Raises:
            ConfigError: A scope of the configuration matches nothing, or its budget of latency cannot be used.
        """
        with stages.stage("layers"):
            quantizable = find_layers(
                model, config.compression.ignored_scopes, config.compression.activations.per_channel
            )
            fake_quantized = place_activation_quantizers(quantizable)
            if len(config.compression.activations.widths) > 1:
                # Activations that get one grid anyway are one choice: a policy would say less bits than there are.
                points = [point.name for point in quantizable.activation_points]
                quantizable = dataclasses.replace(quantizable, shared_grids=shared_grids(fake_quantized, points))
            # Before the statistics: a misspelt layer should not cost a pass over the images.
            ranges = select_ranges(config.compression.initializer.range, quantizable.layers)
        budget, latency = latency_budget(config), None
        if budget is not None:
            latency = table_for(budget, quantizable, fake_quantized, config.runtime.threads, stages)
        activation_bits = _activation_bits(quantizable, config)
        check(CostModel(quantizable, activation_bits, None, latency), _choices(quantizable, config))
        statistics = _observe(quantizable, calibration, config, stages, "statistics")
        return cls(quantizable, fake_quantized, statistics, config, ranges, calibration, latency=latency)

    def observe(self, calibration: NDArray[np.float32], stages: Stages, purpose: str) -> CalibratedModel:
        """A second calibrated model for the same layers, with the statistics of other images.

        Args:
            calibration: (N, ...) images.
            stages: Reports the progress.
            purpose: Appended to the names of the stages.
        """
        statistics = _observe(self.quantizable, calibration, self.config, stages, f"statistics{purpose}")
        return CalibratedModel(
            self.quantizable,
            self.fake_quantized,
            statistics,
            self.config,
            self.ranges,
            calibration,
            purpose,
            self.latency,
        )

    def weight_table(
        self, ranges: RangeSelection, bits: Sequence[int] | Mapping[str, int], stages: Stages
    ) -> WeightTable:
        """Clips, rounds and corrects all weights at the given widths, or each layer's at its own."""
        fisher = self._fisher_for(ranges, stages)
        with stages.stage(f"weight table{self.purpose}", len(self.quantizable.layers)) as advance:
            return build_weight_table(
                self.quantizable,
                self.statistics.layers,
                self.config.compression,
                ranges,
                bits=bits,
                fisher=fisher,
                threads=self.config.runtime.threads,
                progress=advance,
            )

    def requantize_sequentially(self, policy: Policy, table: WeightTable, stages: Stages) -> WeightTable:
        """The final pass over a policy's weights: each layer for the inputs that the quantized ones before it yield."""
        fisher = self._fisher_for(self.ranges, stages)
        with stages.stage(f"sequential pass{self.purpose}", len(self.quantizable.layers)) as advance:
            return requantize_sequentially(
                self.quantizable,
                lambda changed: self.build(policy, changed),
                policy,
                table,
                self.calibration,
                self.statistics.layers,
                self.config.compression,
                self.ranges,
                fisher=fisher,
                threads=self.config.runtime.threads,
                progress=advance,
            )

    def build(self, policy: Policy, table: WeightTable, *, packed: bool = True) -> ov.Model:
        """The quantized model of a policy.

        Args:
            policy: Bits of every layer and activation quantizer.
            table: Its weights.
            packed: As it is shipped; otherwise in a form that is compiled faster and computes the same.
        """
        return assemble(self._template(policy), self.quantizable, policy, table, packed=packed)

    def costs(self, table: WeightTable) -> CostModel:
        """Costs of policies with the configured activation bits."""
        return CostModel(
            self.quantizable,
            self.activation_bits,
            lambda: fixed_bytes(
                lambda policy: self.build(policy, table), self.quantizable, table.bits, self.activation_bits
            ),
            self.latency,
        )

    @cached_property
    def activation_bits(self) -> dict[str, int]:
        """Every activation quantizer at the configured width, the largest where there is a choice."""
        return _activation_bits(self.quantizable, self.config)

    @cached_property
    def choices(self) -> dict[str, tuple[int, ...]]:
        """What a policy decides: see `QuantizableModel.choices`."""
        return _choices(self.quantizable, self.config)

    @cached_property
    def activation_errors(self) -> dict[str, dict[int, float]]:
        """Group of activation points and width to the relative squared error of the values seen there."""
        with one_torch_thread():
            return {
                group: {
                    bits: max(
                        relative_error(self.statistics.activations[name], self._ranges(bits)[name], bits)
                        for name in members
                    )
                    for bits in self.choices[group]
                }
                for group, members in self.quantizable.activation_groups.items()
                if group in self.choices
            }

    def curvature(self, kind: SecondOrder, progress: Callable[[int, int], None]) -> dict[str, torch.Tensor]:
        """How sharply the network's answer changes with each layer's weights: see `second_order`."""
        images, threads = self._few_images, self.config.runtime.threads
        done = itertools.count(1)

        def advance() -> None:
            progress(next(done), len(images))

        if kind == "hessian_trace":
            return collect_hessian_traces(self.quantizable, images, threads=threads, progress=advance)
        if self._fisher is None:
            self._fisher = collect_fisher(self.quantizable, images, threads=threads, progress=advance)
        return self._fisher

    @cached_property
    def _asymmetric_points(self) -> frozenset[str]:
        return asymmetric_points(self.fake_quantized, [point.name for point in self.quantizable.activation_points])

    def _is_asymmetric(self, bits: int) -> bool:
        mode = self.config.compression.activations.mode
        return mode == "asymmetric" or (mode == "automatic" and bits < INT8_BITS)

    def _fisher_for(self, ranges: RangeSelection, stages: Stages) -> dict[str, torch.Tensor] | None:
        """The layers' Fisher information, computed when a rule needs it for the first time; None if none does."""
        if ranges.needs_fisher and self._fisher is None:
            with stages.stage(f"fisher information{self.purpose}", len(self._few_images)):
                self.curvature("fisher", stages.report)
        return self._fisher if ranges.needs_fisher else None

    @property
    def _few_images(self) -> NDArray[np.float32]:
        """Calibration images for passes back through the network, spread evenly: they may be sorted by class."""
        count = min(len(self.calibration), FISHER_IMAGES)
        return self.calibration[np.arange(count) * len(self.calibration) // count]

    def _template(self, policy: Policy) -> ov.Model:
        key = tuple(sorted(policy.activation_bits.items()))
        with self._lock:
            if key in self._templates:
                self._templates.move_to_end(key)
            else:
                ranges = {name: self._ranges(bits)[name] for name, bits in policy.activation_bits.items()}
                self._templates[key] = build_template(self.fake_quantized, ranges, policy.activation_bits)
                if len(self._templates) > _TEMPLATES:
                    self._templates.popitem(last=False)
            return self._templates[key]

    def _ranges(self, bits: int) -> dict[str, ValueRange]:
        """The range of every activation point at one width."""
        if bits not in self._activation_ranges:
            points = self.quantizable.activation_points
            with one_torch_thread():
                self._activation_ranges[bits] = activation_ranges(
                    points,
                    self.quantizable.unified_scales,
                    self.statistics.activations,
                    {point.name: bits for point in points},
                    ACTIVATION_RANGE_INITIALIZERS.create(self.config.compression.activations.range),
                    self._asymmetric_points if self._is_asymmetric(bits) else (),
                )
        return self._activation_ranges[bits]


def _activation_bits(quantizable: QuantizableModel, config: Config) -> dict[str, int]:
    return {point.name: config.compression.activations.largest for point in quantizable.activation_points}


def _choices(quantizable: QuantizableModel, config: Config) -> dict[str, tuple[int, ...]]:
    return quantizable.choices(
        config.compression.weights.bits,
        config.compression.activations.widths,
        with_float=latency_budget(config) is not None,
    )


def _observe(
    quantizable: QuantizableModel, calibration: NDArray[np.float32], config: Config, stages: Stages, stage: str
) -> ModelStatistics:
    with stages.stage(stage, len(calibration)) as advance:
        images = (image[None] for image in calibration)
        return collect_statistics(quantizable, images, threads=config.runtime.threads, progress=advance)
