"""What the weights of a model may be for the device that it is for."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Final, Literal

from nncf_mcq.errors import ConfigError
from nncf_mcq.policy import INT8_BITS, SUPPORTED_BITS

if TYPE_CHECKING:
    from nncf_mcq.config.schema import Config

TargetDevice = Literal["CPU", "GPU", "NPU", "ANY"]
"""As in NNCF; ANY is a model that runs on integers everywhere."""

PLAIN_DEVICES: Final = ("GPU", "NPU")
"""Their compilers know low-bit weights in one form, that of NNCF's own."""


def device_remark(device: TargetDevice) -> str | None:
    """What is to be said of the figures of a model for a device that nothing was run on; None for the others.

    Args:
        device: That of the configuration.
    """
    if device not in PLAIN_DEVICES:
        return None
    return f"the figures were measured on the CPU; nothing was run on the device {device}, which may compute otherwise"


_BITS: Final[Mapping[TargetDevice, tuple[int, ...]]] = {
    "CPU": SUPPORTED_BITS,
    # The integer types of the patterns in the plugins' sources. 2 bits are in neither.
    "GPU": (4, INT8_BITS),
    "NPU": (4, INT8_BITS),
    # A convolution of 4 bits in the form of GPU and NPU runs in floating point on a CPU.
    "ANY": (INT8_BITS,),
}


def for_device(config: Config) -> Config:
    """A configuration in which what was left out suits its device.

    Args:
        config: Where it says nothing, bit-widths become those that the device knows, and for GPU and NPU the mode of
            the weights symmetric, with all levels at 8 bits.

    Raises:
        ConfigError: It says something else.
    """
    device = config.target_device
    if device == "CPU":
        return config
    compression = config.compression
    weights, path = compression.weights, "compression"
    if "bits" in weights.model_fields_set:
        check_bits(weights.bits, device, f"{path}.weights.bits")
    changes: dict[str, object] = {"bits": [bits for bits in weights.bits if bits in _BITS[device]]}
    if "mode" not in weights.model_fields_set:
        changes["mode"] = "symmetric"
    elif device == "NPU" and weights.mode != "symmetric":
        # It takes 4-bit constants for integers where their zero point is 8.
        raise ConfigError(f"{path}.weights.mode", weights.mode, "symmetric, with target_device NPU")
    if device in PLAIN_DEVICES and "isa" not in weights.model_fields_set:
        # What overflows on some CPUs does not there.
        changes["isa"] = "vnni"
    if weights.fully_connected != "int8":
        raise ConfigError(
            f"{path}.weights.fully_connected", weights.fully_connected, f"int8, with target_device {device}"
        )
    if compression.activations.widths != (INT8_BITS,):
        found = compression.activations.bits
        raise ConfigError(f"{path}.activations.bits", found, f"{INT8_BITS}, with target_device {device}")
    limits = compression.initializer.precision.limits
    if limits is not None and limits.latency is not None:
        allowed = f"weight_size and bops: with target_device {device} there is no latency to measure here"
        raise ConfigError(f"{path}.initializer.precision.budget", "latency", allowed)
    changed = compression.model_copy(update={"weights": weights.model_copy(update=changes)})
    return config.model_copy(update={"compression": changed})


def check_bits(bits: Iterable[int], device: TargetDevice, path: str) -> None:
    """Refuses bit-widths that a device does not know.

    Args:
        bits: Of weights.
        device: That the model is for.
        path: Of the bits in the configuration.

    Raises:
        ConfigError: There is such a bit-width.
    """
    unknown = sorted(set(bits) - set(_BITS[device]))
    if unknown:
        found = unknown[0] if len(unknown) == 1 else unknown
        allowed = " and ".join(map(str, _BITS[device]))
        raise ConfigError(path, found, f"{allowed}, the bit-widths of weights with target_device {device}")
