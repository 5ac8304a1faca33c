"""Names of the classes that the targets of a data set are indices of."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from nncf_mcq.config.catalog import find_config
from nncf_mcq.config.schema import load_config
from nncf_mcq.data.datasets import class_names
from nncf_mcq.errors import ConfigError
from nncf_mcq.job import Job

PREPROCESSING = {"scale": "0-1", "mean": [0.0] * 3, "std": [1.0] * 3}


def names(base: Path, **dataset: Any) -> list[str] | None:
    return class_names(load_config({"dataset": dataset}).dataset, base)


def test_of_imagenet_are_the_lines_of_the_list_or_the_folders(tmp_path: Path) -> None:
    for folder in ("n2", "n1"):
        (tmp_path / folder).mkdir()
    imagenet = {"type": "imagenet", "root": ".", "preprocessing": PREPROCESSING}
    assert names(tmp_path, **imagenet) == ["n1", "n2"]
    (tmp_path / "wnids.txt").write_text("n2\nn1\nn3\n")
    assert names(tmp_path, **imagenet) == ["n2", "n1", "n3"]


def test_of_coco_are_in_the_order_of_the_categories(tmp_path: Path) -> None:
    coco = {"type": "coco", "root": ".", "preprocessing": {"size": [8, 8]}}
    assert names(tmp_path, **coco) is None
    categories = [{"id": 3, "name": "dog"}, {"id": 1, "name": "cat"}]
    (tmp_path / "found.json").write_text(json.dumps({"categories": categories}))
    assert names(tmp_path, annotations="found.json", **coco) == ["cat", "dog"]
    (tmp_path / "found.json").write_text("[]")
    with pytest.raises(ConfigError, match="COCO's layout"):
        names(tmp_path, annotations="found.json", **coco)


def test_of_the_recipe_stand_beside_its_images() -> None:
    job = Job.read(find_config("fashion_mnist"))
    found = class_names(job.config.dataset, job.base_directory)
    assert found is not None
    assert (len(found), found[9]) == (10, "Ankle boot")


def test_of_images_without_labels_there_are_none(tmp_path: Path) -> None:
    assert names(tmp_path, type="image_folder", root=".", preprocessing=PREPROCESSING) is None
    assert class_names(None, tmp_path) is None
