"""The properties that a model must run with to give the outputs that were measured."""

from __future__ import annotations

from typing import Final

from nncf_mcq.model.inference import FloatPrecision, compile_properties

_EXACT: Final = ("INFERENCE_PRECISION_HINT", "DYNAMIC_QUANTIZATION_GROUP_SIZE")
"""Those that change outputs; threads, streams and hints change times only and are the user's."""


def device_properties(device: str, precision: FloatPrecision) -> dict[str, str]:
    """Properties of a device, by OpenVINO's names, for what compiles the model.

    Args:
        device: Of OpenVINO.
        precision: The precision of layers that are not quantized.

    Returns:
        None for a device other than the CPU: nothing was measured there.
    """
    if device != "CPU":
        return {}
    pinned = compile_properties(1, precision)
    return {name: str(pinned[name]) for name in _EXACT}
