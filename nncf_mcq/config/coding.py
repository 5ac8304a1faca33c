"""What trellis-coded weights go with."""

from __future__ import annotations

from typing import TYPE_CHECKING

from nncf_mcq.errors import ConfigError

if TYPE_CHECKING:
    from nncf_mcq.config.schema import Config


def with_coding_checked(config: Config) -> Config:
    """The configuration, unless it asks for trellis-coded weights and for what needs them on a grid.

    Args:
        config: All of it.

    Raises:
        ConfigError: It asks for both.
    """
    weights, tuning = config.compression.weights, config.compression.tuning
    if weights.coding != "trellis":
        return config
    path, allowed = "compression.weights", "with the weights' coding trellis"
    if config.target_device != "CPU":
        raise ConfigError(f"{path}.coding", weights.coding, f"uniform, with target_device {config.target_device}")
    if weights.fully_connected != "int8":
        raise ConfigError(f"{path}.fully_connected", weights.fully_connected, f"int8, {allowed}")
    if tuning is not None:
        raise ConfigError("compression.tuning", tuning.type, f"none, {allowed}: only levels of a grid are trained")
    return config
