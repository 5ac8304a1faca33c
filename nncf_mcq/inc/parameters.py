"""From the flat parameters of Intel Neural Compressor's configs to our configuration, and back for messages."""

from __future__ import annotations

from collections.abc import Mapping
from copy import deepcopy
from typing import Any, Final

from nncf_mcq.config.schema import Config, load_config
from nncf_mcq.errors import ConfigError

NAME: Final = "mixed_clipping"
"""Of the algorithm, in Intel Neural Compressor."""

DEFAULT_AVERAGE_BITS: Final = 4.0
"""The budget where nothing else says how small the model is to be."""

AIMS: Final = ("bits", "average_bits", "budget", "goal")
"""Parameters that say how small the model is to be, or how good; one of them."""

_PRECISION: Final = ("compression", "initializer", "precision")

PATHS: Final[Mapping[str, tuple[str, ...]]] = {
    "precision": (*_PRECISION, "type"),
    "bits": (*_PRECISION, "bits"),
    "average_bits": (*_PRECISION, "budget", "weight_size", "average_bits"),
    "budget": (*_PRECISION, "budget"),
    "goal": (*_PRECISION, "goal"),
    "evaluations": (*_PRECISION, "evaluations"),
    "seed": (*_PRECISION, "seed"),
    "weight_bits": ("compression", "weights", "bits"),
    "activation_bits": ("compression", "activations", "bits"),
    "clipping": ("compression", "initializer", "range", "type"),
    "num_init_samples": ("compression", "initializer", "num_init_samples"),
    "threads": ("runtime", "threads"),
}
"""Parameter to its place in the JSON."""


def to_configuration(given: Mapping[str, object]) -> Config:
    """Makes the configuration of `nncf_mcq.quantize` from parameters.

    Args:
        given: Values of `PATHS`, and `compression`, a section of the JSON that they are added to; those that are not
            given have the defaults of the JSON.

    Raises:
        ConfigError: A value cannot be used; names the parameter.
    """
    values = {name: value for name, value in given.items() if name in PATHS}
    section = given.get("compression", {})
    if not isinstance(section, Mapping):
        raise ConfigError(f"{NAME}.compression", section, "an object, as in the JSON")
    data: dict[str, Any] = {"compression": deepcopy(dict(section))}
    own_precision = _section(data, _PRECISION[:2]).get("precision")

    aims = [name for name in AIMS if name in values]
    if len(aims) > 1:
        raise ConfigError(NAME, aims, f"one of {', '.join(AIMS)}")
    if own_precision is None or (isinstance(own_precision, Mapping) and "type" not in own_precision):
        if not aims and not set(AIMS) & set(own_precision or ()):
            values["average_bits"] = DEFAULT_AVERAGE_BITS
        values.setdefault("precision", "uniform" if "bits" in values else "ilp")
    for name, value in values.items():
        _put(data, name, value)
    try:
        settings = load_config(data)
    except ConfigError as error:
        raise of_parameter(error, values) from error
    aim = settings.compression.initializer.precision.aim
    if aim is not None and aim.metric is not None:
        raise ConfigError(
            f"{NAME}.goal",
            given.get("goal", aim.quantity),
            "agreement or kl: run_fn passes no labels; for a metric, let autotune try several average_bits",
        )
    return settings


def _section(data: dict[str, Any], path: tuple[str, ...]) -> dict[str, Any]:
    """The object at a path, made where it is missing; one that is no part of the data where something else is there."""
    found: Any = data
    for key in path:
        if not isinstance(found, dict):
            return {}
        found = found.setdefault(key, {})
    return found if isinstance(found, dict) else {}


def _put(data: dict[str, Any], name: str, value: object) -> None:
    *path, last = PATHS[name]
    found: Any = data
    for key in path:
        found = found.setdefault(key, {}) if isinstance(found, dict) else None
    if not isinstance(found, dict) or last in found:
        where = ".".join([*path[1:], last])
        raise ConfigError(f"{NAME}.{name}", value, f"no value, as compression has one for {where}")
    found[last] = value


def of_parameter(error: ConfigError, given: Mapping[str, object]) -> ConfigError:
    """The same error with the name of the parameter in the place of the path in the JSON.

    Args:
        error: Of the configuration, or of a quantization with it.
        given: The parameters that have a value.
    """
    if not error.path.startswith(("compression", "runtime")):
        return error
    for name in sorted(given.keys() & PATHS.keys(), key=lambda item: -len(PATHS[item])):
        path = ".".join(PATHS[name])
        if error.path == path and error.found == f"unknown key {PATHS[name][-1]}":
            return ConfigError(f"{NAME}.{name}", given[name], f"no value: precision {given.get('precision')} has none")
        if error.path == path or error.path.startswith((f"{path}.", f"{path}[")):
            return ConfigError(f"{NAME}.{name}{error.path.removeprefix(path)}", error.found, error.allowed)
    return ConfigError(f"{NAME}.{error.path}", error.found, error.allowed)
