"""The types of this package in the JSON schema of NNCF 2."""

from __future__ import annotations

from typing import Any

from nncf.config import schema
from nncf.config.schemata.algo import quantization

from nncf_mcq.config.nncf2 import NNCF_RANGE_TYPES
from nncf_mcq.config.registry import PRECISION_PARAMETERS, RANGE_PARAMETERS

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
