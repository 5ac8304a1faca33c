"""How weights are coded where a configuration does not say, and what trellis-coded ones go with."""

from __future__ import annotations

from typing import TYPE_CHECKING

from nncf_mcq.errors import ConfigError

if TYPE_CHECKING:
    from nncf_mcq.config.schema import Config


def with_coding(config: Config) -> Config:
    """The configuration, in which "automatic" has become what suits it.

    Args:
        config: All of it.

    Raises:
        ConfigError: It asks for trellis-coded weights, and for what needs them on a grid.
    """
    weights = config.compression.weights
    if weights.coding == "uniform":
        return config
    refusal = _needs_grid(config)
    if weights.coding == "trellis":
        if refusal is not None:
            raise refusal
        return config
    coded = weights.model_copy(update={"coding": "trellis" if refusal is None else "uniform"})
    return config.model_copy(update={"compression": config.compression.model_copy(update={"weights": coded})})


def _needs_grid(config: Config) -> ConfigError | None:
    """What speaks against trellis-coded weights."""
    weights, tuning = config.compression.weights, config.compression.tuning
    path, allowed = "compression.weights", 'with "coding": "trellis"'
    if config.target_device != "CPU":
        return ConfigError(f"{path}.coding", weights.coding, f"uniform, with target_device {config.target_device}")
    if weights.fully_connected != "int8":
        return ConfigError(f"{path}.fully_connected", weights.fully_connected, f"int8, {allowed} in the weights")
    if tuning is not None:
        return ConfigError(
            "compression.tuning", tuning.type, f"none, {allowed} in the weights: only levels of a grid are trained"
        )
    return None
