"""The script `recipes/fine_tune.py`: quantizes, trains and saves."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from types import ModuleType

import pytest
import torch

from nncf_mcq.data.fashion_mnist import read_labelled_images
from tests.recipes.conftest import LoadRecipeFile


@pytest.fixture
def script(project_root: Path, load_recipe_file: LoadRecipeFile, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    # As the interpreter does for a script: its own folder comes first.
    monkeypatch.syspath_prepend(str(project_root / "recipes"))
    monkeypatch.delitem(sys.modules, "training", raising=False)
    found = load_recipe_file("fine_tune.py")
    monkeypatch.delitem(sys.modules, "training")
    return found


def test_a_recipe_is_quantized_trained_and_saved(
    project_root: Path,
    tmp_path: Path,
    script: ModuleType,
    load_recipe_file: LoadRecipeFile,
    capsys: pytest.CaptureFixture[str],
) -> None:
    write_idx = load_recipe_file("fashion_mnist/make_subset.py").write_idx
    for subset, count in (("train", 256), ("t10k", 100)):
        images, labels = read_labelled_images(project_root / "recipes" / "fashion_mnist" / "data", subset)
        write_idx(tmp_path / f"{subset}-images-idx3-ubyte.gz", images[:count])
        write_idx(tmp_path / f"{subset}-labels-idx1-ubyte.gz", labels[:count])
    output, threads = tmp_path / "out", torch.get_num_threads()
    replaced = [f"dataset.root={tmp_path}", "dataset.full_root=null"]
    replaced += ['dataset.split={"calibration": 32, "search": 32, "report": "rest"}']
    replaced += ["compression.correction.sequential=false", "compression.initializer.range=max"]
    replaced += ["compression.weights.bits=[2, 4, 8]"]
    values = [word for item in replaced for word in ("--set", item)]
    schedule = ["--epochs", "1", "--batch-size", "32", "--average-bits", "3", "--threads", "1"]
    try:
        code = script.main(["fashion_mnist", "--data", str(tmp_path), "--output", str(output), *schedule, *values])
    finally:
        torch.set_num_threads(threads)
    printed = capsys.readouterr().out
    assert code == 0
    assert re.search(r"^before: average [23]\.\d\d bits, top-1 \d+\.\d\d, drop ", printed, re.MULTILINE)
    assert re.search(r"^step 8/8  loss 0\.\d+ ", printed, re.MULTILINE)
    top1 = re.search(r"^after: average [23]\.\d\d bits, top-1 (\d+\.\d\d), drop ", printed, re.MULTILINE)
    assert top1 is not None and float(top1[1]) > 80
    result = json.loads((output / "result.json").read_text())
    assert result["verified"] is True
    assert result["search"]["details"]["trained"] is True


def test_mistakes_are_clear_errors(script: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    places = ["--data", str(tmp_path), "--output", str(tmp_path)]
    with pytest.raises(SystemExit) as caught:
        script.main(["fashion_mnist", *places, "--epochs", "0"])
    assert caught.value.code == 2
    assert "--epochs: found 0.0, allowed: more than 0" in capsys.readouterr().err
    assert script.main(["nowhere", *places]) == 1
    assert capsys.readouterr().err.startswith("error: ")
