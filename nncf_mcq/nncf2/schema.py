"""The types of this package in the JSON schema of NNCF 2."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jsonschema
from nncf import NNCFConfig
from nncf.config import schema
from nncf.config.schemata.algo import quantization

from nncf_mcq.config.messages import format_path
from nncf_mcq.config.nncf2 import ALGORITHM, NNCF_RANGE_TYPES, translate
from nncf_mcq.config.registry import PRECISION_PARAMETERS, RANGE_PARAMETERS
from nncf_mcq.config.schema import load_config
from nncf_mcq.errors import ConfigError

OLD_DEVICES = ("VPU", "NONE")
"""Names that earlier releases of NNCF 2 had for devices, and that files still have."""


def extend_schema() -> None:
    """Adds the names of initializers and of their parameters; what is there already stays.

    Which parameters belong to which type is checked against this package's own schema when the model is compressed.
    """
    ranges = {name: RANGE_PARAMETERS[name] for name in RANGE_PARAMETERS if name not in NNCF_RANGE_TYPES}
    known = quantization.RANGE_INIT_TYPES_VS_DESCRIPTIONS
    _add_types(quantization.BASIC_RANGE_INIT_CONFIG_PROPERTIES["properties"]["type"], known, ranges)
    precisions = {name: PRECISION_PARAMETERS[name] for name in PRECISION_PARAMETERS}
    properties = quantization.PRECISION_INITIALIZER_SCHEMA["properties"]
    _add_types(properties["type"], quantization.PRECISION_INIT_TYPES_VS_DESCRIPTION, precisions)
    for model in precisions.values():
        for name, field in model.model_fields.items():
            properties.setdefault(name, {"description": field.description or name})
    # The one width of `uniform`.
    properties["bits"] = {**properties["bits"], "type": ["array", "number"]}
    for device in OLD_DEVICES:
        if device not in schema.TARGET_DEVICE_SCHEMA["enum"]:
            schema.TARGET_DEVICE_SCHEMA["enum"].append(device)


def _add_types(entry: dict[str, Any], known: dict[str, str], models: dict[str, Any]) -> None:
    """Adds types to the list of a schema and to the dictionary that NNCF looks them up in."""
    for name, model in models.items():
        if name not in known:
            known[name] = (model.__doc__ or name).strip()
            entry["oneOf"].append({"const": name, "title": name, "description": known[name]})


def explain_errors() -> None:
    """Names the value where the schema refuses a section that asks for this package.

    NNCF compares a section with the schemas of all algorithms, and says that it is valid under none.
    """
    validate: Callable[[dict[str, Any]], None] = NNCFConfig.validate
    if getattr(validate, "knows_nncf_mcq", False):
        return

    def validate_and_explain(loaded_json: dict[str, Any]) -> None:
        try:
            validate(loaded_json)
        except jsonschema.ValidationError:
            try:
                _check_sections(loaded_json.get("compression"))
            except ConfigError as error:
                raise error from None
            raise

    validate_and_explain.knows_nncf_mcq = True  # type: ignore[attr-defined]
    NNCFConfig.validate = staticmethod(validate_and_explain)


def _check_sections(found: Any) -> None:
    """Raises a `ConfigError` for a value that this package, or the schema of its algorithm alone, refuses."""
    for section in found if isinstance(found, list) else [found]:
        if isinstance(section, dict) and section.get("algorithm") == ALGORITHM:
            translation = translate(section)
            if translation is None:
                continue
            load_config({"compression": translation.compression})
            validator = jsonschema.Draft202012Validator(schema.REF_VS_ALGO_SCHEMA[ALGORITHM])
            error = jsonschema.exceptions.best_match(validator.iter_errors(section))
            if error is not None:
                raise _to_config_error(error)


def _to_config_error(error: jsonschema.ValidationError) -> ConfigError:
    location = ("compression", *error.absolute_path)
    if error.validator == "additionalProperties":
        known = error.schema["properties"]
        key = next(key for key in error.instance if key not in known)
        return ConfigError(format_path((*location, key)), f"unknown key {key}", f"one of the keys {', '.join(known)}")
    return ConfigError(format_path(location), error.instance, f"what NNCF's schema has there: {error.message}")
