"""Data sets as indexed samples, and their division into calibration, search and report (the test images)."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal, NamedTuple, Protocol, runtime_checkable

import numpy as np
from pydantic import Field, ValidationError, ValidatorFunctionWrapHandler, WrapValidator

from nncf_mcq.config.parameters import Parameters
from nncf_mcq.config.types import CALIBRATION, MOST_CALIBRATION
from nncf_mcq.errors import ConfigError
from nncf_mcq.utils.json_values import JsonValue

NO_TARGET = -1
"""Target of an image without a label."""

Target = Any
"""Target of the metric: a class index, `NO_TARGET` if there is none, or e.g. `Objects`."""

Sample = tuple[Any, Target]
"""A preprocessed float32 image (channels, height, width), or by name an array for each input, and its target."""

Count = Annotated[int, Field(strict=True, gt=0)]


class ImageDataset(Protocol):
    """A sized, indexed collection of samples; an index past the end raises IndexError."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: int, /) -> Sample: ...


@runtime_checkable
class FileDataset(ImageDataset, Protocol):
    """One whose samples must be decoded first, and may turn out to be damaged."""

    skipped: list[str]

    def prefetch(self, order: Sequence[int], start: int) -> None: ...

    def readable(self, order: Sequence[int], count: int | None) -> list[int]: ...


@runtime_checkable
class NamedDataset(ImageDataset, Protocol):
    """One whose samples have names, e.g. of their files."""

    def name(self, index: int, /) -> str | None: ...


def sample_name(dataset: ImageDataset, index: int) -> str | None:
    """The name of a sample, where it has one.

    Args:
        dataset: Its data set.
        index: Of the sample.
    """
    return dataset.name(index) if isinstance(dataset, NamedDataset) else None


class DatasetParameters(Parameters):
    """Base of the parameter models; a data set narrows `type` to its name."""


def _one_message(allowed: str) -> WrapValidator:
    """Replaces the two errors of a union, one for each of its members, by one."""

    def validate(value: object, handler: ValidatorFunctionWrapHandler) -> object:
        try:
            return handler(value)
        except ValidationError:
            raise ValueError(allowed) from None

    return WrapValidator(validate)


Size = Annotated[
    Count | Annotated[list[Count], Field(min_length=2, max_length=2)] | None,
    _one_message("a positive number of pixels, or [height, width]"),
]
"""Of an image: one side, or height and width."""


class SplitParameters(DatasetParameters):
    """Number of images of each part; they are drawn in a seeded random order."""

    seed: Annotated[int, Field(strict=True, ge=0)] = Field(default=0, description="Seed of the random order.")
    calibration: Count | None = Field(
        default=None,
        description=f"Number of images for activation ranges and layer statistics. null: {CALIBRATION}, or in the "
        f"section `calibration`, whose images serve nothing else, all of them up to {MOST_CALIBRATION}.",
    )
    search: Annotated[Literal["calibration"] | Count, _one_message("'calibration' or a positive number of images")] = (
        Field(
            default="calibration",
            description="Number of images, other than those for calibration, that policies are scored on; "
            "'calibration' scores the weights made from each half of the calibration images on the other half.",
        )
    )
    report: Annotated[
        Literal["rest", "none"] | Count, _one_message("'rest', 'none' or a positive number of images")
    ] = Field(
        default="rest",
        description="Number of test images, which only measure the final accuracy; 'rest' takes all others. 'none' is "
        "for the section `calibration`, whose default it is.",
    )

    @property
    def report_size(self) -> int | None:
        """The number of test images; None for all that are left."""
        if self.report == "rest":
            return None
        return 0 if self.report == "none" else self.report

    def calibration_size(self, available: int) -> int:
        """The number of images for activation ranges and layer statistics.

        Args:
            available: Number of images.
        """
        if self.calibration is not None:
            return self.calibration
        if self.report != "none":
            return CALIBRATION
        return max(min(available - (0 if self.search == "calibration" else self.search), MOST_CALIBRATION), 1)


def without_report(parameters: Parameters) -> Parameters:
    """The parameters of a data set whose images serve for nothing but calibration and search.

    Args:
        parameters: Of any data set; those without a split of this kind are returned as they are.
    """
    split = getattr(parameters, "split", None)
    if not isinstance(split, SplitParameters) or split.report != "rest":
        return parameters
    return parameters.model_copy(update={"split": split.model_copy(update={"report": "none"})})


@dataclass(frozen=True)
class DatasetSplits:
    """The three parts of a data set.

    Attributes:
        calibration: For activation ranges and layer statistics.
        search: For scoring policies; may be the same object as `calibration`.
        report: For the final accuracy; shares no image with the others.
        source: Where the images come from, in words, for the report.
        has_targets: Whether the samples have targets, so that accuracy can be measured.
        skipped: Names of the images that were left out because they cannot be read.
        remark: What whoever reads the report must know of its images.
        calibration_source: Where the images for calibration and search come from, where that is elsewhere.
    """

    calibration: ImageDataset
    search: ImageDataset
    report: ImageDataset
    source: str
    has_targets: bool = True
    skipped: tuple[str, ...] = ()
    remark: str | None = None
    calibration_source: str | None = None

    def calibrated_on(self, other: DatasetSplits) -> DatasetSplits:
        """The test images of this data set with the calibration and search images of another."""
        return dataclasses.replace(
            self,
            calibration=other.calibration,
            search=other.search,
            skipped=self.skipped + other.skipped,
            calibration_source=other.source,
        )

    def describe(self) -> dict[str, JsonValue]:
        """Returns JSON values for a report: the source and the number of images of each part."""
        rare = {
            "skipped": list(self.skipped),
            "remark": self.remark,
            "calibration_source": self.calibration_source,
        }
        return {name: value for name, value in rare.items() if value} | {
            "source": self.source,
            "has_targets": self.has_targets,
            "calibration": len(self.calibration),
            "search": len(self.search),
            "search_is_calibration": self.search is self.calibration,
            "report": len(self.report),
        }


@dataclass(frozen=True)
class Subset:
    """The samples of `dataset` at `indices`, in that order."""

    dataset: ImageDataset
    indices: Sequence[int]

    def __len__(self) -> int:
        return len(self.indices)

    def __getitem__(self, index: int, /) -> Sample:
        if isinstance(self.dataset, FileDataset):
            # Nearly everybody asks for one after the other.
            self.dataset.prefetch(self.indices, index)
        return self.dataset[self.indices[index]]

    def name(self, index: int, /) -> str | None:
        """The name of sample `index`, where it has one."""
        return sample_name(self.dataset, self.indices[index])


class SplitIndices(NamedTuple):
    """Indices of each part; `search` is None where it is the calibration part."""

    calibration: list[int]
    search: list[int] | None
    report: list[int]


Choose = Callable[[Sequence[int], int | None], list[int]]
"""From an order and a number to the first so many of it that can be used, all if None."""


def _take(order: Sequence[int], count: int | None) -> list[int]:
    return list(order[:count])


def split_indices(
    parameters: SplitParameters,
    available: int,
    report_available: int | None = None,
    choose: Choose = _take,
    choose_report: Choose | None = None,
) -> SplitIndices:
    """Draws the three parts in a seeded random order.

    Args:
        parameters: The sizes asked for, and the seed.
        available: Number of images.
        report_available: Number of images of a second, separate pool that the report is drawn from; None draws it
            from what calibration and search leave over.
        choose: Says which images can be used. Those that cannot are passed over: the order of the others stays.
        choose_report: The same for the second pool.

    Returns:
        Disjoint indices; those of the report are indices into the second pool where there is one.

    Raises:
        ConfigError: There are fewer images than asked for, or none is left for the report.
    """
    search_size = 0 if parameters.search == "calibration" else parameters.search
    order = np.random.default_rng(parameters.seed).permutation(available).tolist()
    size = parameters.calibration_size(available)
    used = size + search_size
    report_size = parameters.report_size
    asked = f"{size} images for calibration and {search_size} more for search"
    if used > available:
        raise ConfigError("dataset.split", asked, f"at most {available} images")
    if report_available is None:
        order = choose(order, None if report_size is None else used + report_size)
        report_order = order[used:]
    else:
        order = choose(order, used)
        report_order = np.random.default_rng(parameters.seed).permutation(report_available).tolist()
        report_order = (choose_report or _take)(report_order, report_size)
    size = parameters.calibration_size(len(order))
    used = size + search_size
    if used > len(order):
        raise ConfigError("dataset.split", asked, f"at most the {len(order)} images that can be read")
    if not report_order and report_size != 0:
        raise ConfigError(
            "dataset.split", asked, f"fewer than the {available} images there are, so that some are left for report"
        )
    if report_size is not None and report_size > len(report_order):
        found = f"{asked}, {report_size} for report"
        raise ConfigError("dataset.split", found, f"1 to {len(report_order)} images for report")
    return SplitIndices(
        calibration=order[:size],
        search=order[size:used] if search_size else None,
        report=report_order[:report_size],
    )


def make_splits(
    parameters: SplitParameters,
    dataset: ImageDataset,
    source: str,
    report_dataset: ImageDataset | None = None,
    has_targets: bool = True,
) -> DatasetSplits:
    """Divides `dataset`; the report part comes from `report_dataset` where one is given.

    Raises:
        ConfigError: There are fewer images than `parameters` asks for.
    """
    pools = [dataset] if report_dataset is None else [dataset, report_dataset]
    files = [pool for pool in pools if isinstance(pool, FileDataset)]
    choose, choose_report = (
        pool.readable if isinstance(pool, FileDataset) else _take for pool in (dataset, report_dataset)
    )
    report_available = None if report_dataset is None else len(report_dataset)
    indices = split_indices(parameters, len(dataset), report_available, choose, choose_report)
    calibration = Subset(dataset, indices.calibration)
    return DatasetSplits(
        calibration=calibration,
        search=calibration if indices.search is None else Subset(dataset, indices.search),
        report=Subset(pools[-1], indices.report),
        source=source,
        has_targets=has_targets,
        skipped=tuple(name for pool in files for name in pool.skipped),
    )
