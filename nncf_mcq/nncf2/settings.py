"""What an NNCF 2 configuration asks of this package, and what is left of it for NNCF 2."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import Any

from nncf import NNCFConfig
from nncf.common.logging import nncf_logger
from nncf.config.extractors import extract_algo_specific_config

from nncf_mcq.config.nncf2 import ALGORITHM, Translation, translate
from nncf_mcq.config.paths import GOAL_PATH
from nncf_mcq.config.schema import Config, load_config
from nncf_mcq.config.types import SampleSize
from nncf_mcq.errors import ConfigError
from nncf_mcq.nncf2.images import Inputs, registered_images

_ANY_BITS = "TRIAL"
"""The device of NNCF 2 without limits on bit-widths."""
_STATISTICS = "mixed_min_max"
"""Statistics of activations that NNCF 2 collects; the ranges of this package then take their place."""


@dataclass(frozen=True)
class Settings:
    """A configuration, read.

    Attributes:
        translation: What it asks of this package.
        config: The same, checked.
        images: Of the loader that is registered; none where nothing is initialized.
        remainder: The configuration that NNCF 2 works with.
    """

    translation: Translation
    config: Config
    images: list[Inputs]
    remainder: NNCFConfig


def read_settings(config: NNCFConfig, should_init: bool) -> Settings | None:
    """Reads a configuration; None where it asks for nothing of this package.

    Args:
        config: The configuration.
        should_init: Whether bits and ranges are found now; then images are needed, and changes are told.

    Raises:
        ConfigError: A value cannot be used, or no images are registered.
    """
    section = extract_algo_specific_config(config, ALGORITHM)
    translation = translate(section)
    if translation is None:
        return None
    images = []
    if should_init:
        images = registered_images(config, translation.compression["initializer"]["num_init_samples"])
        device = config.get("target_device", "ANY")
        for notice in translation.notices:
            nncf_logger.info(f"nncf_mcq: {notice}")
        if device != _ANY_BITS:
            nncf_logger.info(f"nncf_mcq: target_device {device}: {_ANY_BITS}, as int8 kernels take packed weights")
    # The quantizers of NNCF 2 have grids and use all levels; where they should not is what its `overflow_fix` is for.
    # Its network is the user's own, which gets no operation more.
    weights = {**translation.compression["weights"], "coding": "uniform", "isa": "vnni", "equalization": False}
    compression = {**translation.compression, "weights": weights}
    values = {"input_info": _input_info(config, images), "compression": compression}
    settings = load_config(values)
    aim = settings.compression.initializer.precision.aim
    if aim is not None and aim.metric is not None:
        raise ConfigError(GOAL_PATH, aim.quantity, "agreement or kl: the search sees no labels")
    return Settings(translation, settings, images, _remainder(config, section, translation))


def sample_size(config: NNCFConfig, images: list[Inputs]) -> SampleSize | None:
    """Shape of each input of the network for one image, as `nncf_mcq` converts it.

    Args:
        config: Whose `input_info` gives it, with any batch size.
        images: Which else give it.
    """
    return load_config({"input_info": _input_info(config, images)}).sample_size


def _input_info(config: NNCFConfig, images: list[Inputs]) -> Any:
    """Shapes of one image: NNCF 2 may trace with a larger batch."""
    found = config.get("input_info") or (images[0].sizes if images else None)
    if found is None:
        return None
    entries = [
        {name: entry[name] for name in ("sample_size", "keyword") if name in entry}
        for entry in (found if isinstance(found, list) else [found])
    ]
    for entry in entries:
        entry["sample_size"] = [1, *entry["sample_size"][1:]]
    return entries if len(entries) > 1 or "keyword" in entries[0] else entries[0]


def _remainder(config: NNCFConfig, section: dict[str, Any], translation: Translation) -> NNCFConfig:
    """A copy, with the registered loaders, in which NNCF 2 knows every type."""
    initializer = dict(section.get("initializer", {}))
    ranges = translation.activation_rule
    if ranges is None:
        ranges = {"num_init_samples": translation.compression["initializer"]["num_init_samples"], "type": _STATISTICS}
    # NNCF's rules are for activations: weights get the ranges of this package.
    rule = {key: value for key, value in ranges.items() if key != "target_quantizer_group"}
    changed = {
        **section,
        "initializer": {**initializer, "range": rule},
        "weights": {"per_channel": True, **section.get("weights", {})},
    }
    sections = config["compression"]
    remainder = copy.copy(config)
    remainder["target_device"] = _ANY_BITS
    remainder["compression"] = (
        [changed if item is section else item for item in sections] if isinstance(sections, list) else changed
    )
    return remainder
