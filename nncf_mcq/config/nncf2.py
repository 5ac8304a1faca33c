"""The `compression` section of an NNCF 2 configuration in this package's own words, with a notice of each change."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from nncf_mcq.config.messages import format_path
from nncf_mcq.config.nncf2_section import RANGE_LOCATION, check_section
from nncf_mcq.config.registry import PRECISION_PARAMETERS, RANGE_PARAMETERS
from nncf_mcq.errors import ConfigError

NNCF_RANGE_TYPES = frozenset(
    {"mixed_min_max", "min_max", "mean_min_max", "threesigma", "percentile", "mean_percentile"}
)
"""Range initializers of NNCF 2, for weights and activations alike."""

ALGORITHM = "quantization"
"""The algorithm of NNCF 2 whose section is translated; in a file of this package, NNCF's INT8."""

DEFAULT_SAMPLES = 256
"""Images that NNCF 2 initializes ranges with."""

_PATH = "compression.initializer.precision"
_GROUPS = ("weights", "activations")
_SCOPES = frozenset({"target_scopes", "ignored_scopes"})
_AUTOQ_RATIO, _HAWQ_RATIO = 0.15, 1.5
_NNCF_BITS = (2, 4, 8)
"""Defaults of NNCF 2."""


@dataclass(frozen=True)
class Translation:
    """A section of an NNCF 2 configuration, translated.

    Attributes:
        compression: JSON values of this package's `compression`.
        scopes: Pairs of bits and a name of NNCF 2, where the bits are given by hand.
        activation_rule: NNCF 2's range initializer of activations; None where they too get the ranges of this package.
        notices: What was changed, a line each.
    """

    compression: dict[str, Any]
    scopes: list[list[Any]] | None
    activation_rule: Mapping[str, Any] | None
    notices: tuple[str, ...]


def translate(section: Mapping[str, Any]) -> Translation | None:
    """Translates a `compression` section.

    Args:
        section: Of an NNCF 2 configuration, its algorithm `quantization`.

    Returns:
        None where it asks for nothing of this package: neither a precision initializer, nor a range initializer that
        NNCF 2 does not have.

    Raises:
        ConfigError: A value cannot be used, or the ranges of single layers are configured.
    """
    check_section(section)
    initializer = section.get("initializer") or {}
    precision = initializer.get("precision")
    rules = _rules(initializer.get("range") or {}, bool(precision))
    if rules is None or not (precision or any(_is_of_this_package(rule) for rule in rules)):
        return None
    for_weights, for_activations = rules
    notices: list[str] = []
    compression: dict[str, Any] = {
        "weights": _weights(section.get("weights", {}), notices),
        "activations": _activations(section.get("activations", {}), notices),
        "initializer": {
            "num_init_samples": for_weights.get("num_init_samples", DEFAULT_SAMPLES),
            "range": _range(for_weights, notices),
        },
    }
    if _is_of_this_package(for_activations) and for_activations is not for_weights:
        compression["activations"]["range"] = _type_and_parameters(for_activations)
    scopes = None
    if precision:
        values = dict(precision)
        kind = values.pop("type", "manual")
        if kind == "manual":
            scopes = [list(pair) for pair in values.pop("bitwidth_per_scope", [])]
            notices.append(f"precision manual: the {len(scopes)} given bits are kept")
            _drop(values, notices, kind)
        else:
            compression["initializer"]["precision"] = _precision(kind, values, compression["weights"], notices)
    else:
        compression["initializer"]["precision"] = {"type": "uniform", "bits": section.get("weights", {}).get("bits", 8)}
    rule = for_activations if for_activations.get("type") in NNCF_RANGE_TYPES else None
    return Translation(compression, scopes, rule, tuple(notices))


def _rules(found: Any, is_needed: bool) -> tuple[Mapping[str, Any], Mapping[str, Any]] | None:
    """The range initializers of weights and of activations; None for rules of single layers that NNCF 2 does itself.

    Args:
        found: One for both, or a list in which each names its group.
        is_needed: Whether ranges of this package are asked for in any case.

    Raises:
        ConfigError: Single layers have a rule of their own, or a group has several.
    """
    if not isinstance(found, list):
        rule = {"type": found} if isinstance(found, str) else found
        return rule, rule
    groups: dict[str, Mapping[str, Any]] = {}
    for index, rule in enumerate(found):
        group = rule.get("target_quantizer_group")
        targets = _GROUPS if group is None else (group,)
        if not _SCOPES.isdisjoint(rule) or not groups.keys().isdisjoint(targets):
            if not is_needed and not any(_is_of_this_package(rule) for rule in found):
                return None
            allowed = "one rule for all layers, or one for the group weights and one for the group activations"
            raise ConfigError(format_path((*RANGE_LOCATION, index)), rule, allowed)
        groups |= dict.fromkeys(targets, rule)
    weights, activations = (groups.get(group, {}) for group in _GROUPS)
    return weights, activations


def _is_of_this_package(rule: Mapping[str, Any]) -> bool:
    return "type" in rule and rule["type"] not in NNCF_RANGE_TYPES


def _type_and_parameters(rule: Mapping[str, Any]) -> dict[str, Any]:
    return {"type": rule["type"], **rule.get("params", {})}


def _weights(values: Mapping[str, Any], notices: list[str]) -> dict[str, Any]:
    found = {name: values[name] for name in ("mode", "per_channel") if name in values}
    if "per_channel" not in values:
        notices.append("weights.per_channel: NNCF's default is false, here a scale per channel is used, as it is free")
    return found


def _activations(values: Mapping[str, Any], notices: list[str]) -> dict[str, Any]:
    found = {name: values[name] for name in ("mode", "bits") if name in values}
    if values.get("per_channel"):
        notices.append("activations.per_channel: before depthwise convolutions only, as others would not run in int8")
        found["per_channel"] = True
    return found


def _range(rule: Mapping[str, Any], notices: list[str]) -> dict[str, Any]:
    """The rule of the weights."""
    kind = rule.get("type")
    if kind is None or kind in NNCF_RANGE_TYPES:
        if kind is not None:
            notices.append(f"range {kind}: for activations; weights get mixed_clipping, which the bits are chosen with")
        return {"type": "mixed_clipping"}
    if kind not in RANGE_PARAMETERS:
        allowed = ", ".join([*sorted(NNCF_RANGE_TYPES), *RANGE_PARAMETERS])
        raise ConfigError(format_path((*RANGE_LOCATION, "type")), kind, f"a range initializer: {allowed}")
    return _type_and_parameters(rule)


def _precision(kind: str, values: dict[str, Any], weights: dict[str, Any], notices: list[str]) -> dict[str, Any]:
    """The precision initializer; its bits are those of the weights."""
    translated = _TRANSLATED.get(kind)
    if translated is not None:
        bits = values.pop("bits", _NNCF_BITS)
        weights["bits"] = list(bits) if isinstance(bits, list | tuple) else [bits]
        notices.append(f"precision.bits {weights['bits']}: for weights; activations keep the bits of their section")
        found = translated(values, notices)
        _drop(values, notices, kind)
        return found
    if kind not in PRECISION_PARAMETERS:
        allowed = ", ".join([*_TRANSLATED, *PRECISION_PARAMETERS])
        raise ConfigError(f"{_PATH}.type", kind, f"a precision initializer: {allowed}")
    if "bits" in values and "bits" not in PRECISION_PARAMETERS[kind].model_fields:
        weights["bits"] = values.pop("bits")
    return {"type": kind, **values}


def _autoq(values: dict[str, Any], notices: list[str]) -> dict[str, Any]:
    ratio = values.pop("compression_ratio", _AUTOQ_RATIO)
    notices.append(f"precision autoq: rl with the budget weight_size.ratio {ratio}")
    found: dict[str, Any] = {"type": "rl", "budget": {"weight_size": {"ratio": ratio}}}
    evaluations = values.pop("iter_number", 0)
    if evaluations:
        notices.append(f"precision.iter_number: evaluations {evaluations}, warm-up and sensitivities included")
        found["evaluations"] = evaluations
    return found


def _hawq(values: dict[str, Any], notices: list[str]) -> dict[str, Any]:
    ratio = values.pop("compression_ratio", _HAWQ_RATIO)
    notices.append(f"precision hawq: ilp with measured sensitivities and the budget bops.ratio 1 / {ratio}")
    return {"type": "ilp", "budget": {"bops": {"ratio": 1 / ratio}}}


_TRANSLATED: dict[str, Callable[[dict[str, Any], list[str]], dict[str, Any]]] = {"autoq": _autoq, "hawq": _hawq}

NNCF_PRECISION_TYPES = frozenset(_TRANSLATED)
"""Precision initializers that only NNCF 2 has."""


def _drop(values: Mapping[str, Any], notices: list[str], kind: str) -> None:
    notices += [f"precision.{name}: not used, it steers {kind} of NNCF 2 only" for name in values]
