"""Models with quantized activations: each range, and the model of each choice of bit-widths, is made once."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Mapping

import numpy as np
import openvino as ov
from numpy.typing import NDArray

from nncf_mcq.calibration.statistics import ActivationStatistics
from nncf_mcq.config.parameters import NamedParameters
from nncf_mcq.config.schema import ActivationsConfig
from nncf_mcq.ir.template import asymmetric_points, build_template
from nncf_mcq.model.algorithm import ValueRange
from nncf_mcq.model.layers import QuantizableModel
from nncf_mcq.policy import INT8_BITS
from nncf_mcq.range_init.activation import activation_ranges, relative_error
from nncf_mcq.range_init.activation.base import ACTIVATION_RANGE_INITIALIZERS
from nncf_mcq.utils.torch_threads import one_torch_thread

_KEPT = 8
"""Maximum number of kept models: a search over bit-widths of activations comes back to few of them."""


class ActivationTemplates:
    """Ranges and models for any bit-widths of the activations; may be asked by several threads.

    Args:
        quantizable: The float model and its activation points.
        fake_quantized: The same with NNCF's quantizers in their places, see `place_activation_quantizers`.
        statistics: Values seen at each activation point.
        config: Mode and range initializer.
        rule: Range initializer at 8 bits, where it is another one.
    """

    def __init__(
        self,
        quantizable: QuantizableModel,
        fake_quantized: ov.Model,
        statistics: Mapping[str, ActivationStatistics],
        config: ActivationsConfig,
        rule: NamedParameters | None = None,
    ) -> None:
        self.fake_quantized = fake_quantized
        self.config = config
        self.rule = rule
        self._quantizable = quantizable
        self._statistics = statistics
        self._ranges: dict[int, dict[str, ValueRange]] = {}
        self._models: OrderedDict[tuple[tuple[str, int], ...], ov.Model] = OrderedDict()
        self._lock = threading.RLock()

    def observe(self, statistics: Mapping[str, ActivationStatistics]) -> ActivationTemplates:
        """The same for what other images yield."""
        return ActivationTemplates(self._quantizable, self.fake_quantized, statistics, self.config, self.rule)

    def of_images(self, indices: NDArray[np.intp]) -> ActivationTemplates:
        """The same for some of the images.

        Args:
            indices: Of the images.
        """
        return self.observe({name: values.of_images(indices) for name, values in self._statistics.items()})

    def with_rule(self, rule: NamedParameters | None) -> ActivationTemplates:
        """The same with another range initializer at 8 bits; None for the configured one."""
        return ActivationTemplates(self._quantizable, self.fake_quantized, self._statistics, self.config, rule)

    def ranges(self, bits: int) -> Mapping[str, ValueRange]:
        """The range of every activation point at one bit-width."""
        with self._lock:
            if bits not in self._ranges:
                points = self._quantizable.activation_points
                with one_torch_thread():
                    self._ranges[bits] = activation_ranges(
                        points,
                        self._quantizable.unified_scales,
                        self._statistics,
                        {point.name: bits for point in points},
                        ACTIVATION_RANGE_INITIALIZERS.create(self._rule(bits)),
                        asymmetric_points(self.fake_quantized, points) if self._is_asymmetric(bits) else (),
                    )
            return self._ranges[bits]

    def model(self, activation_bits: Mapping[str, int]) -> ov.Model:
        """The model whose activation points have these bit-widths; its weights are placeholders; not to be edited."""
        key = tuple(sorted(activation_bits.items()))
        with self._lock:
            if key in self._models:
                self._models.move_to_end(key)
            else:
                ranges = {name: self.ranges(bits)[name] for name, bits in activation_bits.items()}
                points = self._quantizable.activation_points
                self._models[key] = build_template(self.fake_quantized, points, ranges, activation_bits)
                if len(self._models) > _KEPT:
                    self._models.popitem(last=False)
            return self._models[key]

    def relative_errors(self, choices: Mapping[str, tuple[int, ...]]) -> dict[str, dict[int, float]]:
        """Group of activation points and bit-width to the relative squared error of the values seen there.

        Args:
            choices: Group name to bit-widths; groups of layers among them are left out.
        """
        with one_torch_thread():
            return {
                group: {
                    bits: max(relative_error(self._statistics[name], self.ranges(bits)[name], bits) for name in members)
                    for bits in choices[group]
                }
                for group, members in self._quantizable.activation_groups.items()
                if group in choices
            }

    def _rule(self, bits: int) -> NamedParameters:
        return self.rule if self.rule is not None and bits == INT8_BITS else self.config.range

    def _is_asymmetric(self, bits: int) -> bool:
        mode = self.config.mode
        return mode == "asymmetric" or (mode == "automatic" and bits < INT8_BITS)
