"""Shapes of the values in a section of an NNCF 2 configuration: what reads one need not look for anything else."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, NonNegativeInt, PositiveFloat, ValidationError, field_validator

from nncf_mcq.config.messages import to_config_error
from nncf_mcq.config.paths import RANGE_PATH
from nncf_mcq.policy import Bits

RANGE_LOCATION: Final = tuple(RANGE_PATH.split("."))


class _Shape(BaseModel):
    """Base of the models below: what is not named here is checked where it is used."""

    model_config = ConfigDict(extra="allow", frozen=True, strict=True)


class _Range(_Shape):
    """A range initializer."""

    type: str = "mixed_min_max"
    num_init_samples: NonNegativeInt = 0
    params: dict[str, Any] = Field(default_factory=dict)
    target_quantizer_group: Literal["weights", "activations"] | None = None


class _Precision(_Shape):
    """A precision initializer."""

    type: str = "manual"
    iter_number: NonNegativeInt = 0
    compression_ratio: PositiveFloat = 1
    # A pair is a list in JSON.
    bitwidth_per_scope: list[Annotated[tuple[Bits, str], Field(strict=False)]] = Field(default_factory=list)


class _Initializer(_Shape):
    """The initializers; ranges may be a list."""

    precision: _Precision | None = None
    range: Any = None


class _Section(_Shape):
    """A section of the algorithm `quantization`."""

    initializer: _Initializer | None = None
    weights: dict[str, Any] = Field(default_factory=dict)
    activations: dict[str, Any] = Field(default_factory=dict)
    ignored_scopes: Any = ""

    @field_validator("ignored_scopes")
    @classmethod
    def _name_or_names(cls, found: object) -> object:
        if not all(isinstance(scope, str) for scope in (found if isinstance(found, list) else [found])):
            raise ValueError("a name, or a list of names")
        return found


def check_section(section: Mapping[str, Any]) -> None:
    """Raises where a value has another type than it is read with.

    Args:
        section: JSON values of an NNCF 2 configuration's `compression`, of the algorithm `quantization`.

    Raises:
        ConfigError: Names the path, the value and what is allowed.
    """
    _check(section, _Section, RANGE_LOCATION[:1])
    ranges = (section.get("initializer") or {}).get("range")
    if isinstance(ranges, list):
        for index, rule in enumerate(ranges):
            _check(rule, _Range, (*RANGE_LOCATION, index))
    elif ranges is not None and not isinstance(ranges, str):
        _check(ranges, _Range, RANGE_LOCATION)


def _check(values: object, model: type[BaseModel], location: tuple[str | int, ...]) -> None:
    try:
        model.model_validate(values)
    except ValidationError as error:
        raise to_config_error(error, model, location) from error
