"""The quantization algorithm of NNCF 2 with the bits and ranges of this package."""

from __future__ import annotations

from typing import Any

from nncf import NNCFConfig
from nncf.common.logging import nncf_logger
from nncf.torch.algo_selector import PT_COMPRESSION_ALGORITHMS
from nncf.torch.nncf_network import NNCFNetwork
from nncf.torch.quantization.algo import QuantizationBuilder, QuantizationController

from nncf_mcq.config.nncf2 import ALGORITHM
from nncf_mcq.nncf2.controller import MixedClippingController
from nncf_mcq.nncf2.initializer import TYPE, MixedPrecisionParams
from nncf_mcq.nncf2.quantizers import set_range
from nncf_mcq.nncf2.settings import read_settings


class MixedClippingBuilder(QuantizationBuilder):  # type: ignore[misc]
    """Builds a quantized network of NNCF 2.

    Where the configuration names an initializer of this package, or one of NNCF 2 that it takes the place of, bits and
    ranges are those of `nncf_mcq.quantize`; else everything is NNCF 2's own.

    Args:
        config: The configuration.
        should_init: Whether bits and ranges are found; false where they come from a checkpoint.
    """

    def __init__(self, config: NNCFConfig, should_init: bool = True) -> None:
        self._settings = read_settings(config, should_init)
        super().__init__(config if self._settings is None else self._settings.remainder, should_init)

    def _parse_precision_init_params(self, initializer_config: dict[str, Any]) -> tuple[Any, Any]:
        if self._settings is None:
            found: tuple[Any, Any] = super()._parse_precision_init_params(initializer_config)
            return found
        settings = self._settings
        return TYPE, MixedPrecisionParams(settings.config, settings.translation.scopes, settings.images)

    def initialize(self, model: NNCFNetwork) -> None:
        """Sets the ranges, and weights that lie on their grids, before NNCF 2 adapts batch normalizations."""
        if self._settings is not None and self.should_init:
            self._put_start(self._precision_init_params, self._settings.translation.activation_rule is None)
        super().initialize(model)

    def _put_start(self, params: MixedPrecisionParams, with_activations: bool) -> None:
        assert params.start is not None and params.alignment is not None
        for identifier, info in self._weight_quantizers.items():
            name = identifier.target_node_name
            if name in params.start.weights:
                set_range(info.quantizer_module_ref, params.start.weights[name].grid)
                # A training that starts from rounded weights keeps what their levels were chosen for.
                params.alignment.weights[name].replace(params.start.weights[name].values)
        for identifier, info in self._non_weight_quantizers.items():
            if with_activations and identifier in params.start.activations:
                set_range(info.quantizer_module_ref, params.start.activations[identifier])
        for what, names in (
            ("layers", params.alignment.unmatched_layers),
            ("activations", params.alignment.unmatched_points),
        ):
            if names:
                nncf_logger.info(f"nncf_mcq: {what} that NNCF 2 does not quantize: {', '.join(names)}")

    def _build_controller(self, model: NNCFNetwork) -> QuantizationController:
        if self._settings is None:
            return super()._build_controller(model)
        return MixedClippingController(
            model,
            self.config,
            self._debug_interface,
            self._weight_quantizers,
            self._non_weight_quantizers,
            self._groups_of_adjacent_quantizers,
            self._quantizers_input_shapes,
            build_time_metric_info=self._build_time_metric_infos,
            build_time_range_init_params=self._range_init_params,
            settings=self._settings.config,
            start=self._precision_init_params.start if self.should_init else None,
        )


def register_builder() -> None:
    """Puts the builder in the place of NNCF 2's own."""
    PT_COMPRESSION_ALGORITHMS.registry_dict[ALGORITHM] = MixedClippingBuilder
