"""What trellis-coded weights go with."""

from __future__ import annotations

from typing import TYPE_CHECKING

from nncf_mcq.errors import ConfigError

if TYPE_CHECKING:
    from nncf_mcq.config.schema import CompressionConfig, Config


def with_coding_checked(config: Config) -> Config:
    """The configuration, in which the coding of weights suits its device.

    Args:
        config: All of it.

    Raises:
        ConfigError: It asks for trellis-coded weights, and for what needs them on a grid.
    """
    compression, device, path = config.compression, config.target_device, "compression.weights"
    weights = compression.weights
    if weights.coding == "trellis":
        allowed = 'with "coding": "trellis"'
        if device != "CPU":
            raise ConfigError(f"{path}.coding", weights.coding, f"uniform, with target_device {device}")
        if weights.fully_connected != "int8":
            raise ConfigError(f"{path}.fully_connected", weights.fully_connected, f"int8, {allowed} in the weights")
    return with_grids(config) if weights.coding == "automatic" and device != "CPU" else config


def with_grids(config: Config) -> Config:
    """The configuration, with all weights on grids.

    Args:
        config: All of it.
    """
    compression = config.compression
    weights = compression.weights.model_copy(update={"coding": "uniform"})
    return config.model_copy(update={"compression": compression.model_copy(update={"weights": weights})})


def needs_grids(compression: CompressionConfig) -> bool:
    """Whether something that is asked for is only done with weights on grids.

    Args:
        compression: That section of the configuration.
    """
    return compression.weights.fully_connected != "int8"
