from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest

from nncf_mcq import load_config
from nncf_mcq.config.registry import DATASET_PARAMETERS
from nncf_mcq.data.datasets import (
    DATASETS,
    DatasetParameters,
    DatasetSplits,
    FashionMnistDataset,
    Sample,
    SplitParameters,
    build_dataset,
)
from nncf_mcq.data.splits import make_splits
from nncf_mcq.errors import ConfigError, NncfMcqError

ALLOWED = "a data set: arrays, coco, distilled, fashion_mnist, image_folder, imagenet"


class BlankImages:
    def __len__(self) -> int:
        return 10

    def __getitem__(self, index: int, /) -> Sample:
        return np.zeros((1, 2, 2), np.float32), index


class BlankDataset:
    class Parameters(DatasetParameters):
        type: Literal["blank"] = "blank"
        split: SplitParameters = SplitParameters(calibration=2)

    @staticmethod
    def load(parameters: Parameters, base_directory: Path) -> DatasetSplits:
        return make_splits(parameters.split, BlankImages(), f"blank in {base_directory.name}")


@pytest.fixture(autouse=True)
def own_registry() -> Iterator[None]:
    yield
    DATASETS.unregister("blank")


def test_third_party_data_set(tmp_path: Path) -> None:
    assert DATASETS.register(BlankDataset) is BlankDataset
    DATASETS.register(BlankDataset)
    from_mapping = build_dataset({"type": "blank", "split": {"calibration": 3}}, tmp_path)
    assert (len(from_mapping.calibration), from_mapping.source) == (3, f"blank in {tmp_path.name}")
    assert len(build_dataset(BlankDataset.Parameters(), tmp_path).calibration) == 2


def test_name_belongs_to_one_class() -> None:
    class Impostor(BlankDataset):
        class Parameters(DatasetParameters):
            type: Literal["imagenet"] = "imagenet"

    with pytest.raises(NncfMcqError, match="a data set named 'imagenet' is registered already: ImagenetDataset"):
        DATASETS.register(Impostor)


def test_class_without_a_name_cannot_be_registered() -> None:
    class Nameless(BlankDataset):
        class Parameters(DatasetParameters):
            type: str = "nameless"

    class Bare:
        @staticmethod
        def load(parameters: DatasetParameters, base_directory: Path) -> DatasetSplits:
            raise NotImplementedError

    for registered in (Nameless, Bare):
        with pytest.raises(NncfMcqError, match=rf"{registered.__name__}.Parameters must declare"):
            DATASETS.register(registered)


def test_parameters_of_each_type() -> None:
    parameters = load_config({"dataset": {"type": "fashion_mnist", "root": "data"}}).dataset
    assert parameters == FashionMnistDataset.Parameters(root="data")
    assert sorted(DATASETS) == ["arrays", "coco", "distilled", "fashion_mnist", "image_folder", "imagenet"]
    for name in DATASETS:
        for field in DATASET_PARAMETERS[name].model_fields.items():
            assert field[0] in ("type", "split", "preprocessing") or field[1].description, field


@pytest.mark.parametrize(
    ("section", "message"),
    [
        ({}, f"dataset.type: found None, allowed: {ALLOWED}"),
        ({"type": ["x"]}, f"dataset.type: found ['x'], allowed: {ALLOWED}"),
        ({"type": "mnist"}, f"dataset.type: found 'mnist', allowed: {ALLOWED}"),
        (
            {"type": "fashion_mnist"},
            "dataset.root: found None, allowed: a value: the key is required "
            "(folder of the four .gz files, relative to the folder of the configuration)",
        ),
        (
            {"type": "fashion_mnist", "rot": "data"},
            "dataset.rot: found 'unknown key rot', allowed: one of the keys type, root, full_root, split, mean, std",
        ),
        (
            {"type": "fashion_mnist", "root": "data", "split": {"size": 3}},
            "dataset.split.size: found 'unknown key size', allowed: one of the keys seed, calibration, search, report",
        ),
        (
            {"type": "fashion_mnist", "root": "data", "split": {"search": 0}},
            "dataset.split.search: found 0, allowed: 'calibration' or a positive number of images",
        ),
        (
            {"type": "fashion_mnist", "root": "data", "std": 0},
            "dataset.std: found 0, allowed: greater than 0",
        ),
        (
            {"type": "imagenet", "root": "r", "preprocessing": {"scale": "0-1", "mean": [0, "x", 0], "std": [1, 1, 1]}},
            "dataset.preprocessing.mean[1]: found 'x', allowed: a valid number",
        ),
    ],
)
def test_errors_name_the_path_the_value_and_what_is_allowed(section: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        build_dataset(section, Path())
    assert str(caught.value) == message


def test_parameters_do_not_change() -> None:
    parameters = FashionMnistDataset.Parameters(root="data")
    with pytest.raises(ValueError, match="frozen"):
        parameters.root = "elsewhere"
