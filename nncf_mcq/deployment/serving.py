"""The file that OpenVINO Model Server reads: what it may hold, and what it holds for one model.

The rules are those of the schema in the server's sources (`src/schema.cpp`, `MODELS_CONFIG_SCHEMA`), for a list of
models without pipelines: the server refuses a file with another key.
"""

from __future__ import annotations

import re
from typing import Annotated, Final

from pydantic import BaseModel, ConfigDict, Field, PositiveInt, field_validator

VERSION: Final = 1
"""The server takes the folders of a model that are named by a positive integer for its versions."""

_NAME: Final = re.compile(r"[\w.-]+")


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class SpecificVersions(_Strict):
    """The versions that are served."""

    versions: list[PositiveInt]


class LatestVersions(_Strict):
    """How many of the newest versions are served."""

    num_versions: PositiveInt


class VersionPolicy(_Strict):
    """Which versions of a model are served: one of the three."""

    all: dict[str, str] | None = None
    specific: SpecificVersions | None = None
    latest: LatestVersions | None = None

    @field_validator("all")
    @classmethod
    def _empty(cls, value: dict[str, str] | None) -> dict[str, str] | None:
        if value:
            raise ValueError("an empty object")
        return value


class ServedModel(_Strict):
    """A model of the list.

    Attributes:
        name: In the server's addresses.
        base_path: Folder of its versions, relative to that of the file.
        target_device: Device of OpenVINO.
        plugin_config: Properties of the device.
        model_version_policy: Versions that are served; by default the latest.
        batch_size: Samples of an inference; by default the model's own.
        shape: Of the only input, or of each by its name; by default the model's own.
        layout: Of tensors and model, the same.
        nireq: Inference requests; by default the server chooses.
        allow_cache: Whether compiled models are cached.
    """

    name: str
    base_path: str
    target_device: str = "CPU"
    plugin_config: dict[str, str | bool | float] = Field(default_factory=dict)
    model_version_policy: VersionPolicy | None = None
    batch_size: Annotated[int, Field(ge=0)] | str | None = None
    shape: str | dict[str, str] | None = None
    layout: str | dict[str, str] | None = None
    nireq: Annotated[int, Field(ge=0)] | None = None
    allow_cache: bool | None = None

    @field_validator("name")
    @classmethod
    def _part_of_an_address(cls, value: str) -> str:
        if not _NAME.fullmatch(value):
            raise ValueError("letters, digits, and the signs . _ -")
        return value


class ServedEntry(_Strict):
    """An entry of the list."""

    config: ServedModel


class ServerConfig(_Strict):
    """A `config.json` of Model Server."""

    model_config_list: list[ServedEntry]

    @classmethod
    def of(cls, model: ServedModel) -> ServerConfig:
        """The file for one model."""
        return cls(model_config_list=[ServedEntry(config=model)])

    def to_json(self) -> str:
        """The file."""
        return self.model_dump_json(indent=2, exclude_none=True) + "\n"
