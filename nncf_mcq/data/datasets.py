"""The data sets that a configuration can name; open to third parties."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from nncf_mcq.config.parameters import Parameters, PathMarker
from nncf_mcq.config.registry import DATASET_PARAMETERS, Registry
from nncf_mcq.config.schema import load_source
from nncf_mcq.data.arrays import ArraysDataset
from nncf_mcq.data.coco import CocoDataset
from nncf_mcq.data.distilled import DistilledDataset, ModelSource
from nncf_mcq.data.fashion_mnist import FashionMnistDataset
from nncf_mcq.data.image_files import ImageFolderDataset
from nncf_mcq.data.imagenet import ImagenetDataset
from nncf_mcq.data.preprocessing import PreprocessingParameters
from nncf_mcq.data.splits import (
    NO_TARGET,
    DatasetParameters,
    DatasetSplits,
    ImageDataset,
    Sample,
    SplitParameters,
    Subset,
    Target,
    make_splits,
)
from nncf_mcq.errors import ConfigError

__all__ = [
    "DATASETS",
    "NO_TARGET",
    "ArraysDataset",
    "CocoDataset",
    "DatasetParameters",
    "DatasetSplits",
    "DistilledDataset",
    "FashionMnistDataset",
    "ImageDataset",
    "ImageFolderDataset",
    "ImagenetDataset",
    "ModelSource",
    "PathMarker",
    "PreprocessingParameters",
    "Sample",
    "SplitParameters",
    "Subset",
    "Target",
    "build_dataset",
    "make_splits",
]


@runtime_checkable
class ImageLoader(Protocol):
    """A class that loads the images that its own nested `Parameters` name."""

    @staticmethod
    def load(parameters: Any, base_directory: Path, /) -> DatasetSplits:
        """The images; `parameters` is an instance of the class's own."""


@runtime_checkable
class ModelImageLoader(Protocol):
    """A class whose images are made of the model."""

    @staticmethod
    def load_from_model(parameters: Any, base_directory: Path, model: ModelSource, /) -> DatasetSplits:
        """The images; `parameters` is an instance of the class's own."""


@runtime_checkable
class NamesClasses(Protocol):
    """A class that may also know the names of the classes that its targets are indices of."""

    @staticmethod
    def class_names(parameters: Any, base_directory: Path, /) -> list[str] | None:
        """The names in the order of the indices, None where they are not known."""


DATASETS: Registry[ImageLoader | ModelImageLoader] = Registry(DATASET_PARAMETERS)
"""Data sets by name."""

for _dataset in (
    ArraysDataset,
    CocoDataset,
    DistilledDataset,
    FashionMnistDataset,
    ImageFolderDataset,
    ImagenetDataset,
):
    DATASETS.register(_dataset)


def build_dataset(
    parameters: Parameters | Mapping[str, object], base_directory: Path, model: ModelSource | None = None
) -> DatasetSplits:
    """Loads the data set that a configuration names.

    Args:
        parameters: The section `dataset` of a configuration, or the parameter model made of it. The class that belongs
            to its `type` loads it: a class with a nested `Parameters` (a `DatasetParameters` whose `type` is a
            literal) and a static `load(parameters, base_directory)`, registered in `DATASETS`. One whose images are
            made of the model has `load_from_model(parameters, base_directory, model)` instead.
        base_directory: Folder that relative paths start from, the one of the configuration.
        model: The model, for data sets that are made of it.

    Returns:
        The calibration, search and test images.

    Raises:
        ConfigError: A parameter cannot be used, or the data are not there, damaged or too few.
    """
    checked = load_source({"dataset": dict(parameters)}).dataset if isinstance(parameters, Mapping) else parameters
    assert checked is not None
    dataset = DATASETS.class_of(checked)
    if issubclass(dataset, ImageLoader):
        return dataset.load(checked, base_directory)
    if model is None:
        name = checked.model_dump()["type"]
        raise ConfigError("dataset.type", name, "a data set of images: there is no model to distill them from")
    return dataset.load_from_model(checked, base_directory, model)


def class_names(parameters: Parameters | None, base_directory: Path) -> list[str] | None:
    """Names of the classes of a data set in the order of their indices; None where they are not known.

    Args:
        parameters: Of the data set.
        base_directory: Folder that relative paths start from.

    Raises:
        ConfigError: They should be known, and the data are not there or damaged.
    """
    dataset = None if parameters is None else DATASETS.class_of(parameters)
    return dataset.class_names(parameters, base_directory) if isinstance(dataset, NamesClasses) else None
