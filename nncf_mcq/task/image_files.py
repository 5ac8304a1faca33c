"""Image files decoded when they are asked for, and images without labels."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, Generic, Literal, TypeVar

from PIL import Image
from pydantic import Field
from torchvision.datasets.folder import IMG_EXTENSIONS

from nncf_mcq.errors import ConfigError
from nncf_mcq.registry import PathMarker
from nncf_mcq.task.preprocessing import PreprocessingParameters, Preprocessor
from nncf_mcq.task.splits import (
    NO_TARGET,
    DatasetParameters,
    DatasetSplits,
    Sample,
    SplitParameters,
    make_splits,
)

BYTES_PER_MEGABYTE = 1_000_000

Label = TypeVar("Label")


class ImageFilesParameters(DatasetParameters):
    """What every data set of image files needs."""

    root: Annotated[str, PathMarker()] = Field(
        description="Folder of the images, relative to the folder of the configuration."
    )
    preprocessing: PreprocessingParameters
    split: SplitParameters = SplitParameters()
    cache_megabytes: Annotated[int, Field(strict=True, ge=0)] = Field(
        default=512, description="Memory for preprocessed images, so that repeated passes do not decode again."
    )


class ImageFiles(Generic[Label]):
    """Samples read from image files.

    Preprocessed images are kept until the cache is full, and then no further ones: passes repeat in the same order, for
    which evicting the least recently used image would mean that no pass ever finds one.

    Args:
        files: One image each.
        labels: What is known of each file before it is opened, e.g. its class index.
        make_sample: From the decoded image and its label to the sample.
        cache_bytes: Memory for preprocessed images.
    """

    def __init__(
        self,
        files: Sequence[Path],
        labels: Sequence[Label],
        make_sample: Callable[[Image.Image, Label], Sample],
        cache_bytes: int,
    ) -> None:
        if len(files) != len(labels):
            raise ValueError(f"{len(files)} files but {len(labels)} labels")
        self._files = files
        self._labels = labels
        self._make_sample = make_sample
        self._cache: dict[int, Sample] = {}
        self._free_bytes = cache_bytes

    def __len__(self) -> int:
        return len(self._files)

    def __getitem__(self, index: int, /) -> Sample:
        """Returns sample `index`; the array belongs to the caller.

        Raises:
            ConfigError: The file is no readable image.
        """
        sample = self._cache.get(index)
        if sample is None:
            sample = self._read(self._files[index], self._labels[index])
            if sample[0].nbytes <= self._free_bytes:
                self._cache[index] = sample
                self._free_bytes -= sample[0].nbytes
        image, target = sample
        return image.copy(), target

    def _read(self, path: Path, label: Label) -> Sample:
        try:
            with Image.open(path) as image:
                return self._make_sample(image, label)
        except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
            raise ConfigError("dataset.root", str(path), f"a readable image ({error})") from error


def classified(preprocessor: Preprocessor) -> Callable[[Image.Image, int], Sample]:
    """How `ImageFiles` makes the samples of a classifier: the label is the target."""
    return lambda image, class_index: (preprocessor(image), class_index)


def find_images(folder: Path) -> list[Path]:
    """Returns the image files in `folder` and below it, sorted; hidden files and folders are left out."""
    return sorted(
        path
        for path in folder.rglob("*")
        if path.suffix.lower() in IMG_EXTENSIONS
        and not any(part.startswith(".") for part in path.relative_to(folder).parts)
        and path.is_file()
    )


def resolve_root(root: str, base_directory: Path) -> Path:
    """Returns the folder `root`, relative to `base_directory` unless absolute.

    Raises:
        ConfigError: There is no such folder.
    """
    folder = base_directory / root
    if not folder.is_dir():
        raise ConfigError("dataset.root", root, f"an existing folder; there is none at {folder.absolute()}")
    return folder


class ImageFolderDataset:
    """Images without labels: enough for calibration and for comparing a model with its FP32 original."""

    class Parameters(ImageFilesParameters):
        """Parameters of `image_folder`."""

        type: Literal["image_folder"] = "image_folder"

    @staticmethod
    def load(parameters: Parameters, base_directory: Path) -> DatasetSplits:
        """Finds the images in the folder and below it; every target is `NO_TARGET`.

        Raises:
            ConfigError: There is no such folder, or it has fewer images than the split asks for.
        """
        files = find_images(resolve_root(parameters.root, base_directory))
        cache_bytes = parameters.cache_megabytes * BYTES_PER_MEGABYTE
        make_sample = classified(Preprocessor(parameters.preprocessing))
        dataset = ImageFiles(files, [NO_TARGET] * len(files), make_sample, cache_bytes)
        return make_splits(parameters.split, dataset, f"images in {parameters.root}", has_targets=False)
