"""The precision initializer of this package among those of NNCF 2."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from nncf.common.quantization.quantizer_setup import SingleConfigQuantizerSetup
from nncf.common.quantization.structs import QuantizationScheme, QuantizerId
from nncf.torch.quantization.init_precision import PrecisionInitializerFactory
from nncf.torch.quantization.precision_constraints import HardwareQuantizationConstraints
from nncf.torch.quantization.precision_init.base_init import BasePrecisionInitializer, BasePrecisionInitParams
from nncf.torch.quantization.precision_init.manual_init import ManualPrecisionInitializer, ManualPrecisionInitParams

from nncf_mcq.config.schema import Config
from nncf_mcq.nncf2.alignment import Alignment, align
from nncf_mcq.nncf2.images import Inputs
from nncf_mcq.nncf2.start import Start, find_start
from nncf_mcq.policy import INT8_BITS, Policy

TYPE = "nncf_mcq"
"""Name of the initializer inside NNCF 2: the type in the JSON is that of this package's own."""


class MixedPrecisionParams(BasePrecisionInitParams):  # type: ignore[misc]
    """What the initializer works with, and what it has found.

    Args:
        settings: The configuration in this package's words.
        scopes: Pairs of bits and a name of NNCF 2, where the bits are given by hand.
        images: Of the loader that is registered.
    """

    def __init__(self, settings: Config, scopes: list[list[Any]] | None, images: list[Inputs]) -> None:
        super().__init__()
        self.settings = settings
        self.scopes = scopes
        self.images = images
        self.start: Start | None = None
        self.alignment: Alignment | None = None


class MixedPrecisionInitializer(BasePrecisionInitializer):  # type: ignore[misc]
    """Gives the quantizers of NNCF 2 the bits that this package finds for the network's OpenVINO model.

    Args:
        algo: The controller of the quantizers that bits are chosen for.
        params: Of this class.
        hw_precision_constraints: Not used: the int8 kernels of the packed IR take all bit-widths.
    """

    def __init__(
        self,
        algo: Any,
        params: MixedPrecisionParams,
        hw_precision_constraints: HardwareQuantizationConstraints | None = None,
    ) -> None:
        super().__init__(algo, params, hw_precision_constraints or HardwareQuantizationConstraints())
        self._params = params

    def apply_init(self) -> SingleConfigQuantizerSetup:
        """The setup of NNCF 2 with bits and modes."""
        params, algo = self._params, self._algo
        setup = algo.get_quantizer_setup_for_current_state()
        if params.scopes is not None:
            manual = ManualPrecisionInitParams(bitwidth_per_scope=params.scopes)
            setup = ManualPrecisionInitializer(algo, manual, self._hw_precision_constraints).apply_init()
        identifiers: dict[int, QuantizerId] = algo.setup_to_module_id_translation_dict
        settings = params.settings
        alignment = align(
            self._model,
            [identifier.target_node_name for identifier in algo.weight_quantizers],
            {identifier: info.quantizer_module_ref for identifier, info in algo.non_weight_quantizers.items()},
            params.images,
            settings.sample_size,
            settings.compression.activations.per_channel,
        )
        given = None if params.scopes is None else _policy(alignment, setup, identifiers)
        start = find_start(alignment, settings, params.images, given)
        params.alignment, params.start = alignment, start
        for number, point in setup.quantization_points.items():
            if point.is_weight_quantization_point():
                weights = start.weights.get(point.insertion_point.target_node_name)
                grid = None if weights is None else weights.grid
                is_asymmetric = grid is not None and grid.bits < INT8_BITS
            else:
                grid = start.activations.get(identifiers[number])
                is_asymmetric = grid is not None and grid.is_asymmetric
            if grid is not None:
                point.qconfig.num_bits = grid.bits
                point.qconfig.mode = QuantizationScheme.ASYMMETRIC if is_asymmetric else QuantizationScheme.SYMMETRIC
                point.qconfig.signedness_to_force = None
        return setup


def _policy(alignment: Alignment, setup: SingleConfigQuantizerSetup, identifiers: dict[int, QuantizerId]) -> Policy:
    """The policy that a setup of NNCF 2 is."""
    bits = {identifiers[number]: point.qconfig.num_bits for number, point in setup.quantization_points.items()}
    named = {str(identifier.get_base()): found for identifier, found in bits.items() if "WEIGHT" in str(identifier)}
    return alignment.policy(named, bits)


def register_initializer() -> None:
    """Puts the initializer among those that NNCF 2 creates by name."""
    create: Callable[[str], type[BasePrecisionInitializer]] = PrecisionInitializerFactory.create
    if getattr(create, "knows_nncf_mcq", False):
        return

    def create_known(init_type: str) -> type[BasePrecisionInitializer]:
        return MixedPrecisionInitializer if init_type == TYPE else create(init_type)

    create_known.knows_nncf_mcq = True  # type: ignore[attr-defined]
    PrecisionInitializerFactory.create = staticmethod(create_known)
