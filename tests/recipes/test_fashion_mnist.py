from __future__ import annotations

import re
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import openvino as ov
import pytest
import torch

from nncf_mcq.data.datasets import build_dataset
from nncf_mcq.data.fashion_mnist import read_idx, read_labelled_images
from nncf_mcq.metrics.metrics import top1
from tests.recipes.conftest import LoadRecipeFile

RunTraining = Callable[..., tuple[int, str, str]]

MAXIMUM_BYTES = 8_000_000


@pytest.fixture(scope="module")
def recipe(project_root: Path) -> Path:
    return project_root / "recipes" / "fashion_mnist"


@pytest.fixture
def model(recipe: Path, load_recipe_file: LoadRecipeFile) -> torch.nn.Module:
    module: torch.nn.Module = load_recipe_file("fashion_mnist/model.py").create_model()
    module.load_state_dict(torch.load(recipe / "checkpoint.pt", weights_only=True))
    return module.eval()


def test_network_is_small_and_has_many_layers(model: torch.nn.Module) -> None:
    assert sum(parameter.numel() for parameter in model.parameters()) < 1_000_000
    layers = [module for module in model.modules() if isinstance(module, torch.nn.Conv2d | torch.nn.Linear)]
    assert len(layers) >= 20
    assert any(isinstance(layer, torch.nn.Conv2d) and layer.groups > 1 for layer in layers)
    assert {parameter.dtype for parameter in model.parameters()} == {torch.float32}


def test_accuracy_on_the_embedded_report_images(recipe: Path, model: torch.nn.Module) -> None:
    report = build_dataset({"type": "fashion_mnist", "root": "data"}, recipe).report
    assert len(report) == 4000
    images, targets = zip(*(report[index] for index in range(len(report))), strict=True)
    compiled = ov.compile_model(ov.convert_model(model, example_input=torch.zeros(1, 1, 28, 28)), "CPU")
    outputs = [compiled(batch)[0].copy() for batch in np.split(np.stack(images), 40)]
    assert top1(np.concatenate(outputs), np.array(targets)) >= 0.91


def test_data_and_checkpoint_are_small(recipe: Path) -> None:
    files = [recipe / "checkpoint.pt", *(recipe / "data").iterdir()]
    assert sum(file.stat().st_size for file in files) <= MAXIMUM_BYTES
    assert "Copyright (c) 2017 Zalando SE" in (recipe / "data" / "LICENSE").read_text()


@pytest.mark.parametrize(("subset", "count"), [("train", 1024), ("t10k", 4000)])
def test_embedded_classes_are_balanced(recipe: Path, subset: str, count: int) -> None:
    labels = read_labelled_images(recipe / "data", subset).labels
    counts = np.bincount(labels, minlength=10)
    assert counts.sum() == count
    assert counts.max() - counts.min() <= 1


def test_subset_is_written_the_same_each_time(recipe: Path, tmp_path: Path, load_recipe_file: LoadRecipeFile) -> None:
    make_subset = load_recipe_file("fashion_mnist/make_subset.py")
    images, labels = read_labelled_images(recipe / "data", "train")
    chosen = make_subset.choose_balanced(labels, 105, seed=0)
    assert np.bincount(labels[chosen]).tolist() == [11] * 5 + [10] * 5
    assert len(set(chosen.tolist())) == 105
    np.testing.assert_array_equal(chosen, make_subset.choose_balanced(labels, 105, seed=0))
    for name in ("first.gz", "second.gz"):
        make_subset.write_idx(tmp_path / name, images[chosen])
    assert (tmp_path / "first.gz").read_bytes() == (tmp_path / "second.gz").read_bytes()
    np.testing.assert_array_equal(read_idx(tmp_path / "first.gz"), images[chosen])


@pytest.fixture
def run_training(
    recipe: Path, load_recipe_file: LoadRecipeFile, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> RunTraining:
    """Runs the script with arguments; returns its exit code and what it wrote to stdout and stderr."""
    # As the interpreter does for a script: its own folder comes first.
    monkeypatch.syspath_prepend(str(recipe))
    monkeypatch.setattr(sys, "path", [*sys.path])
    monkeypatch.delitem(sys.modules, "model", raising=False)
    script = load_recipe_file("fashion_mnist/train.py")
    monkeypatch.delitem(sys.modules, "model")

    def run(*arguments: object) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["train.py", "--threads", "1", *map(str, arguments)])
        threads = torch.get_num_threads()
        try:
            code = script.main()
        finally:
            torch.set_num_threads(threads)
        return code, *capsys.readouterr()

    return run


def test_training_writes_a_checkpoint_and_prints_its_accuracy(
    recipe: Path, tmp_path: Path, load_recipe_file: LoadRecipeFile, run_training: RunTraining
) -> None:
    make_subset = load_recipe_file("fashion_mnist/make_subset.py")
    for subset in ("train", "t10k"):
        images, labels = read_labelled_images(recipe / "data", subset)
        make_subset.write_idx(tmp_path / f"{subset}-images-idx3-ubyte.gz", images[:128])
        make_subset.write_idx(tmp_path / f"{subset}-labels-idx1-ubyte.gz", labels[:128])
    checkpoint = tmp_path / "out" / "checkpoint.pt"
    initial = ("--initial", recipe / "checkpoint.pt", "--learning-rate", 1e-5)
    code, trained, _ = run_training(
        "--data", tmp_path, "--output", checkpoint, "--epochs", 2, "--batch-size", 32, *initial
    )
    assert code == 0
    assert [path.name for path in checkpoint.parent.iterdir()] == ["checkpoint.pt"]
    code, evaluated, _ = run_training("--data", tmp_path, "--evaluate", checkpoint)
    assert code == 0
    assert evaluated.splitlines()[-1] == trained.splitlines()[-1]
    accuracy = re.fullmatch(r"test accuracy (0\.\d{4}) on 128 images\n", evaluated)
    assert accuracy is not None
    # It started from the trained network, and a step of this length does not spoil it.
    assert float(accuracy[1]) > 0.8
    before, after = (torch.load(path, weights_only=True) for path in (recipe / "checkpoint.pt", checkpoint))
    assert before.keys() == after.keys()
    assert not torch.equal(before["classifier.weight"], after["classifier.weight"])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--output", "checkpoint.pt", "--epochs", 0), "--epochs: found 0, allowed: 1 or more"),
        (("--evaluate", "nowhere.pt"), "--evaluate: found 'nowhere.pt', allowed: an existing checkpoint"),
        ((), "one of the arguments --output --evaluate is required"),
    ],
)
def test_impossible_arguments_are_clear_errors(
    run_training: RunTraining, capsys: pytest.CaptureFixture[str], arguments: tuple[object, ...], message: str
) -> None:
    with pytest.raises(SystemExit) as caught:
        run_training("--data", "nowhere", *arguments)
    assert caught.value.code == 2
    assert message in capsys.readouterr().err


def test_training_of_too_few_steps_is_a_clear_error(recipe: Path, tmp_path: Path, run_training: RunTraining) -> None:
    checkpoint = tmp_path / "checkpoint.pt"
    arguments = ("--data", recipe / "data", "--output", checkpoint, "--epochs", 1, "--batch-size", 1000)
    code, _, errors = run_training(*arguments)
    assert code == 1
    assert errors == "error: 1 training steps; the learning-rate cycle needs 8\n"
    assert not checkpoint.exists()


def test_training_without_data_is_a_clear_error(tmp_path: Path, run_training: RunTraining) -> None:
    code, _, errors = run_training("--data", tmp_path / "nowhere", "--output", tmp_path / "checkpoint.pt")
    assert code == 1
    assert errors.startswith("error: dataset.root: found")
    assert "nowhere" in errors
