"""A whole configuration file of NNCF 2 in this package's own words, with a notice of each key that was changed."""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping
from typing import Any, Final

from nncf_mcq.config.device import PLAIN_DEVICES
from nncf_mcq.config.imagenet import IMAGENET_NORMALIZATION
from nncf_mcq.config.module_scopes import activation_scope, is_of_activation, module_scope
from nncf_mcq.config.nncf2 import ALGORITHM, NNCF_PRECISION_TYPES, NNCF_RANGE_TYPES, translate
from nncf_mcq.config.paths import PRECISION_PATH
from nncf_mcq.config.registry import RANGE_PARAMETERS
from nncf_mcq.config.schema import load_config
from nncf_mcq.errors import ConfigError
from nncf_mcq.policy import INT8_BITS

_HOST_KEYS: Final = frozenset(
    {
        "accuracy_aware_training",
        "batch_size",
        "batch_size_val",
        "compression_lr_multiplier",
        "disable_shape_matching",
        "epochs",
        "execution_parameters",
        "export_to_ir_via_onnx",
        "export_via_onnx",
        "hw_config_subset",
        "hw_config_type",
        "log_dir",
        "multiprocessing_distributed",
        "no_strip_on_export",
        "num_classes",
        "optimizer",
        "print_freq",
        "save_freq",
        "test_every_n_epochs",
        "workers",
    }
)
"""Keys at the top of NNCF 2's files and of its examples that steer NNCF 2 or a training loop."""

_SECTION_KEYS: Final = frozenset({"algorithm", "initializer", "weights", "activations", "ignored_scopes"})
"""Keys of a section that are translated."""

_CROPPED_SHARE: Final = 0.875
"""Side that a crop leaves in NNCF 2's examples."""

_RELEASE: Final = re.compile(r"_tv_\d+$")
"""Ends the name of a model that NNCF 2's examples keep as an earlier torchvision had it, e.g. `mobilenet_v2_tv_092`."""

_BITS_PATH: Final = f"{PRECISION_PATH}.bitwidth_per_scope"

_logger = logging.getLogger(__name__)


def read_nncf2(data: dict[str, Any]) -> dict[str, Any]:
    """Translates a file of NNCF 2; a file of this package is returned as it is.

    What was changed is logged, a line each. Names of torch modules are left to `pipeline.module_scopes`, which needs
    the model.

    Args:
        data: JSON values.

    Raises:
        ConfigError: The file asks for what this package does not do.
    """
    section = _section(data)
    if section is None or not _is_nncf2(data, section):
        return data
    notices: list[str] = []
    translated = {key: value for key, value in data.items() if key not in _HOST_KEYS}
    notices += [f"{key}: not used, it steers NNCF 2 or a training" for key in data if key in _HOST_KEYS]
    _model(translated, notices)
    if isinstance(translated.get("dataset"), str):
        translated["dataset"] = _dataset(translated["dataset"], data.get("input_info"), notices)
    compression = _compression(section, notices)
    device = translated.get("target_device", "ANY")
    if not _suits(device, compression):
        translated["target_device"] = "CPU"
        notices.append(f"target_device {device}: CPU, whose int8 kernels take packed weights of all bit-widths")
    translated["compression"] = compression
    for notice in notices:
        _logger.warning("NNCF 2: %s", notice)
    return translated


def _suits(device: object, compression: dict[str, Any]) -> bool:
    """Whether a device has weights and activations as they are asked for."""
    if device not in PLAIN_DEVICES:
        return device == "CPU"
    try:
        load_config({"target_device": device, "compression": compression})
    except ConfigError:
        return False
    return True


def _section(data: Mapping[str, Any]) -> dict[str, Any] | None:
    """The section of the quantization; None in a file that is not of NNCF 2.

    Raises:
        ConfigError: There are further algorithms.
    """
    found = data.get("compression")
    given = found if isinstance(found, list) else [found]
    sections = [section for section in given if isinstance(section, dict)]
    if len(sections) < len(given):
        return None
    quantizations = [section for section in sections if section.get("algorithm") == ALGORITHM]
    if not quantizations:
        return None
    others = [str(section.get("algorithm")) for section in sections if section.get("algorithm") != ALGORITHM]
    if others or len(quantizations) > 1:
        raise ConfigError("compression", ", ".join([*others, ALGORITHM]), f"the algorithm {ALGORITHM} alone")
    return dict(quantizations[0])


def _is_nncf2(data: Mapping[str, Any], section: Mapping[str, Any]) -> bool:
    """Whether anything is in the words of NNCF 2 only."""
    initializer = section.get("initializer")
    initializer = initializer if isinstance(initializer, dict) else {}
    precision, ranges = (initializer.get(key) for key in ("precision", "range"))
    given = (values.get("type") if isinstance(values, dict) else None for values in (precision, ranges))
    kind, rule = (value if isinstance(value, str) else None for value in given)
    is_manual = kind in (None, "manual") and isinstance(precision, dict) and "bitwidth_per_scope" in precision
    return (
        isinstance(data["compression"], list)
        or not _HOST_KEYS.isdisjoint(data)
        or kind in NNCF_PRECISION_TYPES
        or is_manual
        or (rule in NNCF_RANGE_TYPES and rule not in RANGE_PARAMETERS)
    )


def _model(translated: dict[str, Any], notices: list[str]) -> None:
    """The name of a model in NNCF 2's examples is one of torchvision, perhaps with the release that it is like."""
    name = translated.get("model")
    if isinstance(name, str) and name.isidentifier():
        translated["model"] = f"torchvision.models:{_RELEASE.sub('', name)}"
        notices.append(f"model {name}: {translated['model']}")
        if "dataset" not in translated:
            translated["dataset"] = "imagenet"


def _dataset(kind: str, input_info: object, notices: list[str]) -> dict[str, Any]:
    """A data set of NNCF 2's examples, with the preprocessing that these have."""
    notices.append(f"dataset: the type {kind}; dataset.root names its folder")
    size = input_info.get("sample_size") if isinstance(input_info, dict) else None
    if kind != "imagenet" or not isinstance(size, list) or not isinstance(size[-1], int):
        return {"type": kind}
    notices.append("dataset.preprocessing: that of NNCF 2's examples")
    crop = size[-1]
    return {
        "type": kind,
        "preprocessing": {
            "resize": round(crop / _CROPPED_SHARE),
            "crop": crop,
            **IMAGENET_NORMALIZATION,
        },
    }


def _compression(section: dict[str, Any], notices: list[str]) -> dict[str, Any]:
    translation = translate(section)
    notices += [f"compression.{key}: not used" for key in section if key not in {*_SECTION_KEYS, "overflow_fix"}]
    if translation is None:
        # INT8, which is NNCF's own.
        notices.append("compression: nothing but INT8 is asked for, which NNCF does itself")
        return {"algorithm": ALGORITHM, "ignored_scopes": _scopes(section)}
    notices += translation.notices
    found = dict(translation.compression)
    if section.get("overflow_fix") == "disable":
        notices.append("compression.overflow_fix disable: weights.isa vnni")
        found["weights"] = {**found["weights"], "isa": "vnni"}
    if translation.scopes is not None:
        precision = _manual(translation.scopes, section.get("weights", {}).get("bits", INT8_BITS), notices)
        found["initializer"] = {**found["initializer"], "precision": precision}
    return {**found, "ignored_scopes": _scopes(section)}


def _manual(scopes: list[list[Any]], default_bits: int, notices: list[str]) -> dict[str, Any]:
    """The precision initializer with the given bits."""
    pairs = [(bits, str(scope)) for bits, scope in scopes]
    outputs = [(bits, scope, activation_scope(scope)) for bits, scope in pairs if is_of_activation(scope)]
    unknown = [scope for _, scope, found in outputs if found is None]
    if unknown:
        notices.append(f"bitwidth_per_scope: not used, no outputs of operations: {', '.join(unknown)}")
    return {
        "type": "manual",
        "default_bits": default_bits,
        "bitwidth_per_scope": [
            [bits, _module(scope, _BITS_PATH)] for bits, scope in pairs if not is_of_activation(scope)
        ],
        "activation_bitwidth_per_scope": [[bits, found] for bits, _, found in outputs if found is not None],
    }


def _scopes(section: Mapping[str, Any]) -> list[str]:
    found = section.get("ignored_scopes", [])
    return [_module(scope, "compression.ignored_scopes") for scope in ([found] if isinstance(found, str) else found)]


def _module(scope: str, path: str) -> str:
    """The module that a scope stands for.

    Raises:
        ConfigError: It is a pattern of NNCF 2's own names, or names no module.
    """
    found = module_scope(scope)
    if found is None:
        raise ConfigError(path, scope, "the name of a module in NNCF 2, e.g. ResNet/NNCFConv2d[conv1]")
    return found
