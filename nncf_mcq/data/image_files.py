"""Image files decoded when they are asked for, and images without labels."""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import cached_property
from pathlib import Path
from typing import Annotated, Generic, Literal, TypeVar

from PIL import Image
from pydantic import Field, PositiveInt

from nncf_mcq.config.parameters import PathMarker
from nncf_mcq.data.preprocessing import PreprocessingParameters, Preprocessor
from nncf_mcq.data.splits import (
    NO_TARGET,
    DatasetParameters,
    DatasetSplits,
    Sample,
    SplitParameters,
    make_splits,
)
from nncf_mcq.errors import ConfigError, in_one_line

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".ppm", ".bmp", ".pgm", ".tif", ".tiff", ".webp")
"""Files of a folder that are read as images: those of torchvision's image folders."""

BYTES_PER_MEGABYTE = 1_000_000

_IMAGES_AHEAD = 4
"""So many images for each worker are decoded before they are asked for."""

_NAMES_SHOWN = 10

_logger = logging.getLogger(__name__)

Label = TypeVar("Label")


class DecodingParameters(DatasetParameters):
    """Parameters of reading image files, whatever is in them."""

    split: SplitParameters = SplitParameters()
    corrupt: Literal["fail", "skip"] = Field(
        default="fail",
        description="Handling of images that cannot be read. fail: an error. skip: a warning names them, and the next "
        "ones in the random order replace them; every image of the split is decoded once for that at the start.",
    )
    workers: PositiveInt | None = Field(
        default=None, description="Number of threads that decode images; null: one per processor."
    )
    cache_megabytes: Annotated[int, Field(strict=True, ge=0)] = Field(
        default=512, description="Memory for preprocessed images in MB, so that repeated passes do not decode again."
    )


class ImageFilesParameters(DecodingParameters):
    """Parameters of every data set of image files with one preprocessing."""

    root: Annotated[str, PathMarker()] = Field(
        description="Folder of the images, relative to the folder of the configuration."
    )
    preprocessing: PreprocessingParameters


class ImageFiles(Generic[Label]):
    """Samples read from image files.

    Preprocessed images are kept until the cache is full, and then no further ones: passes repeat in the same order, for
    which evicting the least recently used image would mean that no pass ever finds one.

    Args:
        files: One image each.
        labels: What is known of each file before it is opened, e.g. its class index.
        make_sample: From the decoded image and its label to the sample; called from several threads.
        parameters: How files are read.
        share: The part of the cache that is this object's own, where several share the limit.
    """

    def __init__(
        self,
        files: Sequence[Path],
        labels: Sequence[Label],
        make_sample: Callable[[Image.Image, Label], Sample],
        parameters: DecodingParameters,
        share: float = 1.0,
    ) -> None:
        if len(files) != len(labels):
            raise ValueError(f"{len(files)} files but {len(labels)} labels")
        self._files = files
        self._labels = labels
        self._make_sample = make_sample
        self._skips = parameters.corrupt == "skip"
        self._workers = parameters.workers or os.cpu_count() or 1
        self._cache: dict[int, Sample] = {}
        self._free_bytes = int(parameters.cache_megabytes * BYTES_PER_MEGABYTE * share)
        self._ahead: dict[int, Future[Sample]] = {}
        self._lock = threading.Lock()
        self.skipped: list[str] = []
        """Names of the files that `readable` left out."""

    def __len__(self) -> int:
        return len(self._files)

    def __getitem__(self, index: int, /) -> Sample:
        """Returns sample `index`; the array belongs to the caller.

        Raises:
            ConfigError: The file is no readable image.
        """
        with self._lock:
            sample = self._cache.get(index)
            future = self._ahead.pop(index, None)
        if sample is None:
            sample = self._read(index) if future is None else future.result()
            self._keep(index, sample)
        image, target = sample
        return image.copy(), target

    def name(self, index: int, /) -> str:
        """Name of the file of sample `index`, with that of its folder, which may be its class."""
        return "/".join(self._files[index].parts[-2:])

    def prefetch(self, order: Sequence[int], start: int) -> None:
        """Begins to decode what comes next in an order, from that place on, and forgets what else was begun.

        Pillow decodes and resizes without holding Python's lock, so that threads do it side by side.
        """
        if self._workers == 1:
            return
        with self._lock:
            coming = order[start : start + _IMAGES_AHEAD * self._workers]
            wanted = [index for index in coming if index not in self._cache]
            self._ahead = {index: self._ahead.get(index) or self._pool.submit(self._read, index) for index in wanted}

    def readable(self, order: Sequence[int], count: int | None) -> list[int]:
        """The first `count` images of an order that can be read, all of them if None.

        Where corrupt images are not to be skipped that is the order itself, unread.
        """
        if not self._skips:
            return list(order[:count])
        found: list[int] = []
        before = len(self.skipped)
        for position, index in enumerate(order):
            if len(found) == count:
                break
            self.prefetch(order, position)
            try:
                self[index]
            except ConfigError:
                self.skipped.append(str(self._files[index]))
            else:
                found.append(index)
        names = self.skipped[before:]
        if names:
            more = f" and {len(names) - _NAMES_SHOWN} more" if len(names) > _NAMES_SHOWN else ""
            shown = ", ".join(map(in_one_line, names[:_NAMES_SHOWN]))
            _logger.warning("skipped %d of %d images that cannot be read: %s%s", len(names), len(order), shown, more)
        return found

    @cached_property
    def _pool(self) -> ThreadPoolExecutor:
        return ThreadPoolExecutor(self._workers, thread_name_prefix="decode")

    def _keep(self, index: int, sample: Sample) -> None:
        with self._lock:
            if index not in self._cache and sample[0].nbytes <= self._free_bytes:
                self._cache[index] = sample
                self._free_bytes -= sample[0].nbytes

    def _read(self, index: int) -> Sample:
        path = self._files[index]
        try:
            with Image.open(path) as image:
                return self._make_sample(image, self._labels[index])
        except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
            allowed = f'a readable image ({error}); "corrupt": "skip" leaves such images out'
            raise ConfigError("dataset.root", str(path), allowed) from error


def classified(preprocessor: Preprocessor) -> Callable[[Image.Image, int], Sample]:
    """How `ImageFiles` makes the samples of a classifier: the label is the target."""
    return lambda image, class_index: (preprocessor(image), class_index)


def find_images(folder: Path) -> list[Path]:
    """Returns the image files in `folder` and below it, sorted; hidden files and folders are left out."""
    return sorted(
        path
        for path in folder.rglob("*")
        if path.suffix.lower() in IMAGE_SUFFIXES
        and not any(part.startswith(".") for part in path.relative_to(folder).parts)
        and path.is_file()
    )


def resolve_root(root: str, base_directory: Path, source: str = "") -> Path:
    """Returns the folder `root`, relative to `base_directory` unless absolute.

    Args:
        root: As configured.
        base_directory: Folder of the configuration.
        source: Where the images come from, for the message.

    Raises:
        ConfigError: There is no such folder.
    """
    folder = base_directory / root
    if not folder.is_dir():
        allowed = f"an existing folder; there is none at {folder.absolute()}"
        raise ConfigError("dataset.root", root, f"{allowed}. {source}" if source else allowed)
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
        make_sample = classified(Preprocessor(parameters.preprocessing))
        dataset = ImageFiles(files, [NO_TARGET] * len(files), make_sample, parameters)
        return make_splits(parameters.split, dataset, f"images in {parameters.root}", has_targets=False)
