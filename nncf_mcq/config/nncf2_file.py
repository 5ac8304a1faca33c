"""A whole configuration file of NNCF 2 in this package's own words, with a notice of each key that was changed."""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping
from typing import Any, Final

from nncf_mcq.config.imagenet import IMAGENET_NORMALIZATION
from nncf_mcq.config.nncf2 import ALGORITHM, NNCF_PRECISION_TYPES, NNCF_RANGE_TYPES, translate
from nncf_mcq.config.paths import PRECISION_PATH
from nncf_mcq.config.registry import RANGE_PARAMETERS
from nncf_mcq.errors import ConfigError

_HOST_KEYS: Final = frozenset(
    {
        "accuracy_aware_training",
        "batch_size",
        "batch_size_val",
        "disable_shape_matching",
        "epochs",
        "execution_parameters",
        "hw_config_subset",
        "hw_config_type",
        "log_dir",
        "multiprocessing_distributed",
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

_MODULE: Final = re.compile(r"\[([^\[\]]+)\]")
"""A module in a scope of NNCF 2, e.g. `features` in `MobileNetV2/Sequential[features]`."""

_OUTPUT: Final = "|OUTPUT"
"""Ends the scope of an activation."""

_BITS_PATH: Final = f"{PRECISION_PATH}.bitwidth_per_scope"

_logger = logging.getLogger(__name__)


def read_nncf2(data: dict[str, Any]) -> dict[str, Any]:
    """Translates a file of NNCF 2; a file of this package is returned as it is.

    What was changed is logged, a line each. Names of torch modules become patterns of the names that OpenVINO gives
    their operations.

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
    device = translated.get("target_device", "ANY")
    if device not in ("CPU", "GPU", "NPU"):
        translated["target_device"] = "CPU"
        notices.append(f"target_device {device}: CPU, whose int8 kernels take packed weights of all bit-widths")
    translated["compression"] = _compression(section, notices)
    for notice in notices:
        _logger.warning("NNCF 2: %s", notice)
    return translated


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
    kind, rule = (values.get("type") if isinstance(values, dict) else None for values in (precision, ranges))
    is_manual = kind in (None, "manual") and isinstance(precision, dict) and "bitwidth_per_scope" in precision
    return (
        isinstance(data["compression"], list)
        or not _HOST_KEYS.isdisjoint(data)
        or kind in NNCF_PRECISION_TYPES
        or is_manual
        or (rule in NNCF_RANGE_TYPES and rule not in RANGE_PARAMETERS)
    )


def _model(translated: dict[str, Any], notices: list[str]) -> None:
    """The name of a model in NNCF 2's examples is one of torchvision."""
    name = translated.get("model")
    if isinstance(name, str) and name.isidentifier():
        translated["model"] = f"torchvision.models:{name}"
        notices.append(f"model {name}: {translated['model']}")


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
        pairs = [(bits, str(scope)) for bits, scope in translation.scopes]
        outputs = [scope for _, scope in pairs if scope.endswith(_OUTPUT)]
        if outputs:
            notices.append(f"bitwidth_per_scope: {len(outputs)} of activations, which keep the bits of their section")
        found["initializer"] = {
            **found["initializer"],
            "precision": {
                "type": "manual",
                "bitwidth_per_scope": [
                    [bits, _pattern(scope, _BITS_PATH)] for bits, scope in pairs if not scope.endswith(_OUTPUT)
                ],
            },
        }
    return {**found, "ignored_scopes": _scopes(section)}


def _scopes(section: Mapping[str, Any]) -> list[str]:
    found = section.get("ignored_scopes", [])
    return [_pattern(scope, "compression.ignored_scopes") for scope in ([found] if isinstance(found, str) else found)]


def _pattern(scope: str, path: str) -> str:
    """The pattern that finds the operations of a module in the names of OpenVINO, `__module.features.0/...`.

    Raises:
        ConfigError: The scope is a pattern of NNCF 2's own names, or names no module.
    """
    modules = _MODULE.findall(scope)
    if scope.startswith("{re}") or not modules:
        allowed = "the name of a module in NNCF 2, e.g. ResNet/NNCFConv2d[conv1]"
        raise ConfigError(path, scope, allowed)
    path = r"\.".join(re.escape(module) for module in modules)
    return rf"{{re}}^__module\.{path}[/.]"
