"""What `set_local` and `white_list` say of modules, for the layers of the model that is quantized."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final

import torch
from neural_compressor.common.utils import DEFAULT_WHITE_LIST

from nncf_mcq.config.schema import Config, load_config
from nncf_mcq.config.scopes import suggestions
from nncf_mcq.errors import ConfigError
from nncf_mcq.inc.config import FLOAT_DTYPE, MixedClippingConfig
from nncf_mcq.inc.parameters import NAME

LOCAL_PARAMETERS: Final = ("dtype", "bits", "clipping")
"""Parameters that a module may have of its own."""


def has_local_settings(config: MixedClippingConfig) -> bool:
    """Whether the config says something of single modules."""
    return bool(config.local_config) or config.white_list != DEFAULT_WHITE_LIST


def with_local_settings(
    settings: Config,
    config: MixedClippingConfig,
    model: torch.nn.Module,
    module_of: Mapping[str, str],
    layers: list[str],
) -> Config:
    """The configuration with what the config says of single modules.

    Args:
        settings: Of the whole model.
        config: With the settings of modules.
        model: The float model.
        module_of: Layer to the module that it was made from.
        layers: Names of all layers.

    Raises:
        ConfigError: A module has a parameter that only the whole model can have, or there is no such module or layer.
    """
    modules = [name for name, _ in config.get_model_info(model)]
    for target in config.local_config:
        if isinstance(target, str):
            _check_pattern(target, modules)
    configs = config.module_configs(model)
    _check_targets(config, modules, configs, module_of)
    values = settings.to_dict()
    compression = values["compression"]
    initializer = compression["initializer"]
    pairs: list[tuple[int, str]] = []
    rules: list[dict[str, object]] = []
    for layer in layers:
        module = module_of.get(layer)
        # What no module is known of is part of the model, and not of a white list.
        item: Any = config.global_config if module is None else configs.get(module)
        if item is None or item.dtype == FLOAT_DTYPE:
            compression["ignored_scopes"].append(layer)
            continue
        if item is config.global_config:
            continue
        if item.bits is not None and item.bits != config.bits:
            pairs.append((item.bits, layer))
        if item.clipping is not None and item.clipping != config.clipping:
            rules.append({"type": item.clipping, "target_scopes": [layer]})
    if pairs:
        initializer["precision"] = {"type": "manual", "default_bits": config.bits, "bitwidth_per_scope": pairs}
    if rules:
        others = initializer["range"]
        initializer["range"] = [*rules, *(others if isinstance(others, list) else [others])]
    return load_config(values)


def _check_targets(
    config: MixedClippingConfig,
    modules: list[str],
    configs: Mapping[str, MixedClippingConfig],
    module_of: Mapping[str, str],
) -> None:
    """Raises for a local config that changes nothing, or cannot change what it says."""
    for target, item in config.local_config.items():
        shown = target if isinstance(target, str) else target.__name__
        _check_local(shown, item, config)
        own = [name for name in modules if configs.get(name) is item]
        if own and not set(own) & set(module_of.values()):
            allowed = "a module that the converted model has a layer of; else name the layer in compression"
            raise ConfigError(f"{NAME}: set_local {shown}", own[0], allowed)


def _check_pattern(pattern: str, modules: list[str]) -> None:
    """Raises for a name or pattern that Intel Neural Compressor could not read, or would find nothing by."""
    try:
        matches = any(re.match(pattern, name) for name in modules)
    except re.error as error:
        raise ConfigError(f"{NAME}: set_local", pattern, f"a regular expression ({error})") from error
    if not matches:
        allowed = f"the name of a module, or a pattern that one begins with, e.g. {suggestions(pattern, modules)}"
        raise ConfigError(f"{NAME}: set_local", pattern, allowed)


def _check_local(name: str, item: Any, config: MixedClippingConfig) -> None:
    where = f"{NAME}: set_local {name}"
    if not isinstance(item, MixedClippingConfig):
        raise ConfigError(where, type(item).__name__, "a MixedClippingConfig")
    for parameter in item.choices():
        raise ConfigError(f"{where}: {parameter}", getattr(item, parameter), "one value, even for autotune")
    of_all = config.given()
    for parameter, value in item.given().items():
        if parameter not in LOCAL_PARAMETERS and value != of_all.get(parameter):
            allowed = f"only {', '.join(LOCAL_PARAMETERS)}: the rest is of the whole model"
            raise ConfigError(f"{where}: {parameter}", value, allowed)
    if item.bits is not None and config.bits is None:
        allowed = "bits only where the whole model has them; a search chooses them, dtype='fp32' leaves a module out"
        raise ConfigError(f"{where}: bits", item.bits, allowed)
