"""Conformance of data sets: the images of calibration, search and report."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from nncf_mcq.config.parameters import PathMarker
from nncf_mcq.data.datasets import (
    DATASETS,
    NO_TARGET,
    DatasetSplits,
    ImageDataset,
    ModelSource,
    build_dataset,
)
from nncf_mcq.errors import ConfigError
from nncf_mcq.testing.registration import RegisteredTestCase, Section

PARTS = ("calibration", "search", "report")

MISSING = "no/such/path"

every_part = pytest.mark.parametrize("part", PARTS)


class DatasetTestCase(RegisteredTestCase):
    """Suite for a class in `DATASETS`.

    The fixture `section` is its JSON, `base_directory` the folder that its paths start from, and `image_shape` the
    shape of its images. No two images may be equal: equal pixels count as one image in two parts.
    """

    registry = DATASETS
    path = "dataset"

    @pytest.fixture
    def base_directory(self, tmp_path: Path) -> Path:
        """Folder of the configuration; an empty one by default."""
        return tmp_path

    @pytest.fixture
    def image_shape(self) -> tuple[int, ...]:
        """(channels, height, width); every subclass defines it."""
        raise NotImplementedError(f"{type(self).__name__} needs the fixture `image_shape`: (channels, height, width)")

    @pytest.fixture
    def model(self) -> ModelSource | None:
        """The model, for data sets that are made of it."""
        return None

    @pytest.fixture
    def splits(self, section: Section, base_directory: Path, model: ModelSource | None) -> DatasetSplits:
        """The loaded data set."""
        return build_dataset(section, base_directory, model)

    @every_part
    def test_images_are_inputs_of_a_network(
        self, splits: DatasetSplits, part: str, image_shape: tuple[int, ...]
    ) -> None:
        """Images are finite float32 of the shape that the network wants."""
        dataset = getattr(splits, part)
        assert len(dataset) > 0
        for index in range(len(dataset)):
            image, _ = dataset[index]
            assert isinstance(image, np.ndarray)
            assert image.dtype == np.float32
            assert image.shape == image_shape
            assert bool(np.isfinite(image).all())

    @every_part
    def test_there_is_nothing_behind_the_last_image(self, splits: DatasetSplits, part: str) -> None:
        """Python ends a loop over a data set at an IndexError."""
        dataset = getattr(splits, part)
        with pytest.raises(IndexError):
            dataset[len(dataset)]

    @every_part
    def test_images_can_be_read_in_any_order_and_belong_to_the_reader(self, splits: DatasetSplits, part: str) -> None:
        """An image is the same however often it is read, and whatever a reader does to it."""
        dataset = getattr(splits, part)
        expected = images_of(dataset)
        for index in reversed(range(len(dataset))):
            image, _ = dataset[index]
            assert np.array_equal(image, expected[index])
            image.fill(-1.0)
        assert all(np.array_equal(*pair) for pair in zip(images_of(dataset), expected, strict=True))

    @every_part
    def test_the_parts_are_the_same_each_time(
        self, splits: DatasetSplits, part: str, section: Section, base_directory: Path, model: ModelSource | None
    ) -> None:
        """A result can be repeated only with the same images in the same order."""
        again = getattr(build_dataset(section, base_directory, model), part)
        dataset = getattr(splits, part)
        assert len(again) == len(dataset)
        for index in range(len(dataset)):
            (image, target), (other_image, other_target) = dataset[index], again[index]
            assert np.array_equal(image, other_image)
            assert repr(target) == repr(other_target)

    def test_the_report_has_no_image_of_the_other_parts(self, splits: DatasetSplits) -> None:
        """Accuracy on images that were calibrated on, or that policies were chosen by, is too good."""
        digests = {
            part: {hashlib.sha256(image.tobytes()).hexdigest() for image in images_of(getattr(splits, part))}
            for part in PARTS
        }
        assert digests["report"].isdisjoint(digests["calibration"] | digests["search"])
        if splits.search is not splits.calibration:
            assert digests["search"].isdisjoint(digests["calibration"])

    @every_part
    def test_targets_are_there_where_the_data_set_says_so(self, splits: DatasetSplits, part: str) -> None:
        """Accuracy is measured only with targets."""
        dataset = getattr(splits, part)
        targets = [dataset[index][1] for index in range(len(dataset))]
        missing = [isinstance(target, int) and target == NO_TARGET for target in targets]
        assert not any(missing) if splits.has_targets else all(missing)

    def test_the_report_says_where_the_images_are_from(self, splits: DatasetSplits) -> None:
        """The description is JSON, with the number of images of each part."""
        described = json.loads(json.dumps(splits.describe()))
        assert described["source"]
        assert [described[part] for part in PARTS] == [len(getattr(splits, part)) for part in PARTS]

    def test_paths_start_from_the_folder_of_the_configuration(
        self,
        splits: DatasetSplits,
        section: Section,
        base_directory: Path,
        model: ModelSource | None,
        tmp_path_factory: pytest.TempPathFactory,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        """The working directory does not matter."""
        monkeypatch.chdir(tmp_path_factory.mktemp("elsewhere"))
        again = build_dataset(section, base_directory.absolute(), model)
        assert [len(getattr(again, part)) for part in PARTS] == [len(getattr(splits, part)) for part in PARTS]

    def test_a_missing_path_is_named(self, section: Section, base_directory: Path, model: ModelSource | None) -> None:
        """Every required path that does not exist is an error with its place in the JSON and the path itself."""
        for name, field in type(self.parameters(section)).model_fields.items():
            if field.is_required() and any(isinstance(item, PathMarker) for item in field.metadata):
                with pytest.raises(ConfigError) as caught:
                    build_dataset({**section, name: MISSING}, base_directory, model)
                assert caught.value.path == f"{self.path}.{name}"
                assert MISSING in str(caught.value)


class SplitDatasetTestCase(DatasetTestCase):
    """Suite for a data set that divides its images by `split`: at least six images, and no `search` part given."""

    def test_the_parts_have_the_sizes_asked_for(
        self, section: Section, base_directory: Path, model: ModelSource | None
    ) -> None:
        """One image each more than one, so that no two parts can be mistaken for each other."""
        splits = self._split(section, base_directory, model, calibration=3, search=2, report=1)
        assert [len(getattr(splits, part)) for part in PARTS] == [3, 2, 1]
        self.test_the_report_has_no_image_of_the_other_parts(splits)

    def test_search_may_be_the_calibration(
        self, section: Section, base_directory: Path, model: ModelSource | None
    ) -> None:
        """It is the same object then: the search scores the weights of each half on the other."""
        splits = self._split(section, base_directory, model, calibration=2, search="calibration", report=2)
        assert splits.search is splits.calibration
        self.test_the_report_has_no_image_of_the_other_parts(splits)

    def test_the_seed_draws_the_images(self, section: Section, base_directory: Path, model: ModelSource | None) -> None:
        """Equal seeds draw the same images; of ten other seeds one at least draws others, or in another order."""
        drawn = [
            images_of(self._split(section, base_directory, model, seed=seed, calibration=3, report=1).calibration)
            for seed in (0, 0, *range(1, 11))
        ]
        same = [all(np.array_equal(*pair) for pair in zip(images, drawn[0], strict=True)) for images in drawn]
        assert same[1]
        assert not all(same)

    def test_too_few_images_are_an_error(
        self, section: Section, base_directory: Path, model: ModelSource | None
    ) -> None:
        """The message names the split and how many images there are."""
        with pytest.raises(ConfigError, match=r"^dataset\.split: .*images"):
            self._split(section, base_directory, model, calibration=10**9)

    @staticmethod
    def _split(section: Section, base_directory: Path, model: ModelSource | None, **split: int | str) -> DatasetSplits:
        return build_dataset({**section, "split": split}, base_directory, model)


def images_of(dataset: ImageDataset) -> list[NDArray[np.float32]]:
    """Copies of the images of a data set, in their order."""
    return [dataset[index][0].copy() for index in range(len(dataset))]
