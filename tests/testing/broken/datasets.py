"""Data sets with one mistake each, and the tests of the suite that must notice it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

import numpy as np
import pytest
from numpy.typing import NDArray

from nncf_mcq import DATASETS, ConfigError, datasets
from nncf_mcq.config.parameters import PathMarker
from nncf_mcq.testing import DatasetTestCase, SplitDatasetTestCase
from tests.testing.broken.sections import section_of

SHAPE = (1, 2, 2)


class Images:
    """Different images with their number as the target."""

    def __init__(self, numbers: Sequence[int]) -> None:
        self.numbers = numbers

    def __len__(self) -> int:
        return len(self.numbers)

    def __getitem__(self, index: int, /) -> datasets.Sample:
        number = self.numbers[index]
        return np.full(SHAPE, number, np.float32), number


class Changed(Images):
    """Images that a function spoils."""

    def __init__(self, change: Callable[[NDArray[Any]], NDArray[Any]]) -> None:
        super().__init__(range(12))
        self.change = change

    def __getitem__(self, index: int, /) -> datasets.Sample:
        image, target = super().__getitem__(index)
        return self.change(image), target


class Parameters(datasets.DatasetParameters):
    root: Annotated[str, PathMarker()] = "."
    split: datasets.SplitParameters = datasets.SplitParameters(calibration=4, search=3)


class ToyTestCase(SplitDatasetTestCase):
    @pytest.fixture
    def image_shape(self) -> tuple[int, ...]:
        return SHAPE


def spoiled(parameters: Any, change: Callable[[NDArray[Any]], NDArray[Any]]) -> datasets.DatasetSplits:
    return datasets.make_splits(parameters.split, Changed(change), "numbers")


@DATASETS.register
class DoublePrecision:
    """Images of float64."""

    class Parameters(Parameters):
        type: Literal["double_precision"] = "double_precision"

    @staticmethod
    def load(parameters: Parameters, base_directory: Path) -> datasets.DatasetSplits:
        return spoiled(parameters, lambda image: image.astype(np.float64))


class TestDoublePrecision(ToyTestCase):
    fails: ClassVar = {"test_images_are_inputs_of_a_network"}
    section = section_of("double_precision")


@DATASETS.register
class ChannelsLast:
    """Images in the order of the file."""

    class Parameters(Parameters):
        type: Literal["channels_last"] = "channels_last"

    @staticmethod
    def load(parameters: Parameters, base_directory: Path) -> datasets.DatasetSplits:
        return spoiled(parameters, lambda image: image.transpose(1, 2, 0))


class TestChannelsLast(ToyTestCase):
    fails: ClassVar = {"test_images_are_inputs_of_a_network"}
    section = section_of("channels_last")


@DATASETS.register
class NotANumber:
    """Images with a pixel that is no number."""

    class Parameters(Parameters):
        type: Literal["not_a_number"] = "not_a_number"

    @staticmethod
    def load(parameters: Parameters, base_directory: Path) -> datasets.DatasetSplits:
        return spoiled(parameters, lambda image: image / np.float32(0))


class TestNotANumber(ToyTestCase):
    fails: ClassVar = {"test_images_are_inputs_of_a_network"}
    section = section_of("not_a_number")


@DATASETS.register
class Augmented:
    """Images that are another each time."""

    class Parameters(Parameters):
        type: Literal["augmented"] = "augmented"

    @staticmethod
    def load(parameters: Parameters, base_directory: Path) -> datasets.DatasetSplits:
        return spoiled(parameters, lambda image: image + np.random.random(SHAPE).astype(np.float32))


class TestAugmented(ToyTestCase):
    fails: ClassVar = {
        "test_images_can_be_read_in_any_order_and_belong_to_the_reader",
        "test_the_parts_are_the_same_each_time",
    }
    section = section_of("augmented")


class Shared(Images):
    """The same array for every reader."""

    def __init__(self) -> None:
        super().__init__(range(12))
        self.kept = [np.full(SHAPE, number, np.float32) for number in self.numbers]

    def __getitem__(self, index: int, /) -> datasets.Sample:
        return self.kept[index], index


@DATASETS.register
class SharedArrays:
    """Images that a reader may spoil for the next one."""

    class Parameters(Parameters):
        type: Literal["shared_arrays"] = "shared_arrays"

    @staticmethod
    def load(parameters: Parameters, base_directory: Path) -> datasets.DatasetSplits:
        return datasets.make_splits(parameters.split, Shared(), "numbers")


class TestSharedArrays(ToyTestCase):
    fails: ClassVar = {"test_images_can_be_read_in_any_order_and_belong_to_the_reader"}
    section = section_of("shared_arrays")


class Endless(Images):
    """Begins again behind the last image."""

    def __getitem__(self, index: int, /) -> datasets.Sample:
        return super().__getitem__(index % len(self))


@DATASETS.register
class Overlapping:
    """Reports on the images that it was calibrated on, without end, and says less than it has."""

    class Parameters(Parameters):
        type: Literal["overlapping"] = "overlapping"

    @staticmethod
    def load(parameters: Parameters, base_directory: Path) -> datasets.DatasetSplits:
        images = Endless(range(4))
        return datasets.DatasetSplits(images, images, images, source="", has_targets=False)


class TestOverlapping(ToyTestCase):
    fails: ClassVar = {
        "test_there_is_nothing_behind_the_last_image",
        "test_the_report_has_no_image_of_the_other_parts",
        "test_targets_are_there_where_the_data_set_says_so",
        "test_the_report_says_where_the_images_are_from",
        "test_the_parts_have_the_sizes_asked_for",
        "test_search_may_be_the_calibration",
        "test_the_seed_draws_the_images",
        "test_too_few_images_are_an_error",
    }
    section = section_of("overlapping")


@DATASETS.register
class Unseeded:
    """Draws other images each time."""

    class Parameters(Parameters):
        type: Literal["unseeded"] = "unseeded"

    @staticmethod
    def load(parameters: Parameters, base_directory: Path) -> datasets.DatasetSplits:
        order = np.random.permutation(1000).tolist()
        return datasets.make_splits(parameters.split, Images(order), "numbers")


class TestUnseeded(ToyTestCase):
    fails: ClassVar = {"test_the_parts_are_the_same_each_time", "test_the_seed_draws_the_images"}
    section = section_of("unseeded")


def files_in(folder: Path, parameters: Any) -> datasets.DatasetSplits:
    numbers = [int(path.stem) for path in sorted(folder.iterdir())]
    return datasets.make_splits(parameters.split, Images(numbers), "numbers")


@DATASETS.register
class WorkingDirectory:
    """Looks for its folder where the process happens to be."""

    class Parameters(Parameters):
        type: Literal["working_directory"] = "working_directory"
        root: Annotated[str, PathMarker()]

    @staticmethod
    def load(parameters: Parameters, base_directory: Path) -> datasets.DatasetSplits:
        if not Path(parameters.root).is_dir():
            raise ConfigError("dataset.root", parameters.root, "a folder")
        return files_in(Path(parameters.root), parameters)


class FolderTestCase(ToyTestCase):
    @pytest.fixture
    def base_directory(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
        monkeypatch.chdir(tmp_path)
        (tmp_path / "numbers").mkdir()
        for number in range(9):
            (tmp_path / "numbers" / f"{number}.txt").touch()
        return tmp_path


class TestWorkingDirectory(FolderTestCase):
    fails: ClassVar = {"test_paths_start_from_the_folder_of_the_configuration"}
    section = section_of("working_directory", root="numbers")


@DATASETS.register
class Traceback:
    """Leaves a missing folder to the operating system."""

    class Parameters(Parameters):
        type: Literal["traceback"] = "traceback"
        root: Annotated[str, PathMarker()]

    @staticmethod
    def load(parameters: Parameters, base_directory: Path) -> datasets.DatasetSplits:
        return files_in(base_directory / parameters.root, parameters)


class TestTraceback(FolderTestCase):
    fails: ClassVar = {"test_a_missing_path_is_named"}
    section = section_of("traceback", root="numbers")


class TestWithoutShape(DatasetTestCase):
    """A suite that is not told the shape of the images."""

    fails: ClassVar = {"test_images_are_inputs_of_a_network"}
    section = section_of("traceback", root=".")
