"""The scripts of the guide "Coming from NNCF 2", run on the demo: search, fine-tuning, IR."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader, TensorDataset

from nncf_mcq import Policy, QuantizationResult
from nncf_mcq.model.inference import compile_model, core
from tests.docs.blocks import fenced
from tests.hosts import demo

ROOT = Path(__file__).resolve().parents[3]
GUIDE = ROOT / "docs" / "nncf2.md"


@pytest.fixture(scope="module")
def quantized() -> QuantizationResult:
    """What `nncf_mcq.quantize` makes of the same network, images, configuration and seed."""
    return demo.quantize()


@pytest.fixture(scope="module")
def names(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """The names that the scripts of the guide leave, run in a folder of their own."""
    folder = tmp_path_factory.mktemp("guide")
    for block in fenced(GUIDE, "json"):
        name = block.title.removeprefix("nncf 2: ")
        if name.endswith(".json"):
            (folder / name).write_text(block.text)
    images, labels = demo.images("train")
    torch.manual_seed(0)
    found: dict[str, Any] = {
        "network": demo.network(),
        "loader": DataLoader(TensorDataset(images, labels), batch_size=64),
        "folder": folder,
    }
    blocks = fenced(GUIDE, "python")
    assert [block.title for block in blocks] == ["create", "train", "export"]
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        for block in blocks:
            exec(compile(block.text, GUIDE.name, "exec", dont_inherit=True), found)
            if block.title == "create":
                found["bits"] = [
                    info.quantizer_module_ref.num_bits for info in found["controller"].weight_quantizers.values()
                ]
    return found


@torch.no_grad()
def outputs_of(model: torch.nn.Module, images: torch.Tensor) -> np.ndarray:
    model.eval()
    return torch.cat([model(batch) for batch in images.split(500)]).numpy()


def outputs_of_ir(model: Any, images: torch.Tensor) -> np.ndarray:
    model = model.clone()
    model.reshape([500, 1, 28, 28])
    compiled = compile_model(model, 1)
    return np.concatenate([compiled(batch.numpy())[0] for batch in images.split(500)])


def test_the_configuration_is_that_of_the_comparison() -> None:
    (block,) = [block for block in fenced(GUIDE, "json") if block.title == "nncf 2: config.json"]
    initializer = json.loads(block.text)["compression"]["initializer"]
    assert initializer["precision"] == demo.PRECISION
    assert initializer["range"]["num_init_samples"] == demo.CALIBRATION_IMAGES


def test_the_policy_is_that_of_quantize(names: dict[str, Any], quantized: QuantizationResult) -> None:
    policy = Policy.from_file(names["folder"] / "compressed" / "policy.json")
    assert policy == quantized.policy
    assert names["bits"] == list(quantized.policy.weight_bits.values())


def test_two_epochs_reach_the_accuracy_of_no_training_in_as_many_bytes(
    names: dict[str, Any], quantized: QuantizationResult, tmp_path: Path
) -> None:
    images, labels = demo.images("t10k")
    folder = names["folder"] / "compressed"
    trained = outputs_of_ir(core().read_model(folder / "model.xml"), images)
    in_nncf = outputs_of(names["model"], images)
    before = outputs_of_ir(quantized.model, images)
    correct = {
        name: int((values.argmax(1) == labels.numpy()).sum())
        for name, values in (("trained", trained), ("in_nncf", in_nncf), ("before", before))
    }
    print(correct)
    # One standard deviation of the difference between two networks that disagree about one image in a hundred.
    assert correct["trained"] >= correct["before"] - 7
    assert float((trained.argmax(1) == in_nncf.argmax(1)).mean()) > 0.99
    without = quantized.save(tmp_path).with_suffix(".bin").stat().st_size
    assert (folder / "model.bin").stat().st_size <= 1.02 * without


def test_all_layers_run_on_int8_kernels(names: dict[str, Any]) -> None:
    result = json.loads((names["folder"] / "compressed" / "result.json").read_text())
    assert result["verified"]
    assert {layer["runtime_precision"] for layer in result["layers"]} <= {"i8", "u8"}
    assert result["search"]["method"] == "rl"
    assert result["search"]["details"]["trained"] is True
