"""The data sets that a configuration can name; open to third parties."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol, TypeVar, get_args

from pydantic import ValidationError

from nncf_mcq.errors import ConfigError, NncfMcqError
from nncf_mcq.task.fashion_mnist import FashionMnistDataset
from nncf_mcq.task.image_files import ImageFolderDataset
from nncf_mcq.task.imagenet import ImagenetDataset
from nncf_mcq.task.preprocessing import PreprocessingParameters
from nncf_mcq.task.splits import (
    NO_TARGET,
    DatasetParameters,
    DatasetSplits,
    ImageDataset,
    Sample,
    SplitParameters,
    Subset,
)

__all__ = [
    "DATASETS",
    "NO_TARGET",
    "DatasetParameters",
    "DatasetSplits",
    "DatasetType",
    "FashionMnistDataset",
    "ImageDataset",
    "ImageFolderDataset",
    "ImagenetDataset",
    "PreprocessingParameters",
    "Sample",
    "SplitParameters",
    "Subset",
    "build_dataset",
    "parse_dataset_parameters",
    "register_dataset",
]


class DatasetType(Protocol):
    """What a registered class must have: this loader, and the nested class `Parameters`.

    `Parameters` is a `DatasetParameters` whose `type` is a literal, the name in the configuration. It is checked when
    the class is registered, since a protocol cannot ask for a nested class.
    """

    @staticmethod
    def load(parameters: Any, base_directory: Path, /) -> DatasetSplits:
        """Returns the three parts; paths in `parameters` are relative to `base_directory`."""
        ...


DATASETS: dict[str, type[DatasetType]] = {}
"""The registered data sets by the `type` that the configuration uses."""

RegisteredClass = TypeVar("RegisteredClass", bound=DatasetType)


def register_dataset(registered: type[RegisteredClass]) -> type[RegisteredClass]:
    """Registers a class under the literal of its `Parameters.type`; usable as a decorator.

    Raises:
        NncfMcqError: The class has no such literal, or another class has the name.
    """
    model: Any = getattr(registered, "Parameters", None)
    is_model = isinstance(model, type) and issubclass(model, DatasetParameters)
    names = get_args(model.model_fields["type"].annotation) if is_model and "type" in model.model_fields else ()
    if len(names) != 1 or not isinstance(names[0], str):
        raise NncfMcqError(
            f"{registered.__name__} needs a nested `class Parameters(DatasetParameters)` with a `type: Literal[NAME]`"
        )
    known = DATASETS.setdefault(names[0], registered)
    if known is not registered:
        raise NncfMcqError(f"a data set named {names[0]!r} is registered already: {known.__qualname__}")
    return registered


def _find(name: object) -> type[DatasetType]:
    if not isinstance(name, str) or name not in DATASETS:
        raise ConfigError("dataset.type", name, "one of " + ", ".join(sorted(DATASETS)))
    return DATASETS[name]


def parse_dataset_parameters(section: Mapping[str, Any]) -> DatasetParameters:
    """Checks the section `dataset` of a configuration.

    Args:
        section: JSON values: `type`, and what that type needs.

    Returns:
        The parameter model of the type.

    Raises:
        ConfigError: Names the path in the JSON, what was found there and what is allowed.
    """
    registered: Any = _find(section.get("type"))
    model: type[DatasetParameters] = registered.Parameters
    try:
        return model.model_validate(dict(section))
    except ValidationError as error:
        # An unknown key is reported before what it may have caused, such as a missing value.
        first = min(error.errors(), key=lambda item: item["type"] != "extra_forbidden")
        path = "dataset" + "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in first["loc"])
        if first["type"] == "missing":
            raise ConfigError(path, None, "a value: the key is required") from error
        if first["type"] == "extra_forbidden":
            raise ConfigError(path, first["input"], _allowed_keys(model, first["loc"][:-1])) from error
        message = str(first["ctx"]["error"]) if first["type"] == "value_error" else first["msg"]
        raise ConfigError(path, first["input"], message[:1].lower() + message[1:]) from error


def _allowed_keys(model: Any, location: tuple[str | int, ...]) -> str:
    for part in location:
        field = getattr(model, "model_fields", {}).get(part)
        model = None if field is None else field.annotation
    keys = getattr(model, "model_fields", ())
    return "one of the keys " + ", ".join(keys) if keys else "no such key"


def build_dataset(parameters: DatasetParameters | Mapping[str, Any], base_directory: Path) -> DatasetSplits:
    """Loads the data set that a configuration names.

    Args:
        parameters: The section `dataset` of a configuration, or the parameter model made of it.
        base_directory: Folder that relative paths start from, the one of the configuration.

    Returns:
        The calibration, search and report images.

    Raises:
        ConfigError: A parameter cannot be used, or the data are not there, damaged or too few.
    """
    if isinstance(parameters, Mapping):
        parameters = parse_dataset_parameters(parameters)
    return _find(getattr(parameters, "type", None)).load(parameters, base_directory)


register_dataset(FashionMnistDataset)
register_dataset(ImageFolderDataset)
register_dataset(ImagenetDataset)
