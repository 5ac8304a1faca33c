"""Damaged IR and ONNX files are read, or refused in one message: no traceback, and no end of the process."""

from __future__ import annotations

import logging
import random
import re
from dataclasses import dataclass
from pathlib import Path

import openvino as ov
import pytest
import torch

from nncf_mcq import NncfMcqError, quantize
from nncf_mcq.model.loading import load_model, to_openvino
from tests.models import SAMPLE_SIZE, as_dataset, random_images, small_config, small_network

LONGEST_MESSAGE = 1000
NUMBERS = (b"0", b"-1", b"3", b"4294967295", b"99999999999999999999", b"x", b"")


@dataclass(frozen=True)
class Files:
    """The small network as an IR and as ONNX."""

    xml: bytes
    bin: bytes
    onnx: bytes


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Files:
    folder = tmp_path_factory.mktemp("whole")
    ov.save_model(to_openvino(small_network(), SAMPLE_SIZE), folder / "model.xml", compress_to_fp16=False)
    torch.onnx.export(small_network(), (torch.zeros(SAMPLE_SIZE),), str(folder / "model.onnx"), dynamo=False)
    return Files(*((folder / f"model.{suffix}").read_bytes() for suffix in ("xml", "bin", "onnx")))


def damaged(content: bytes, generator: random.Random) -> bytes:
    """A file cut off, with other bytes, without some, with some twice, or with another number."""
    data = bytearray(content)
    first = generator.randrange(len(data))
    last = min(len(data), first + generator.randrange(1, 200))
    match generator.choice(["cut", "bytes", "bit", "less", "more", "number"]):
        case "cut":
            del data[first:]
        case "bytes":
            for _ in range(generator.randrange(1, 20)):
                data[generator.randrange(len(data))] = generator.randrange(256)
        case "bit":
            data[first] ^= 1 << generator.randrange(8)
        case "less":
            del data[first:last]
        case "more":
            data[first:first] = data[first:last]
        case _:
            number = generator.choice([*re.finditer(rb"\d+", content)])
            data[number.start() : number.end()] = generator.choice(NUMBERS)
    return bytes(data)


def write(files: Files, generator: random.Random, folder: Path) -> Path:
    """The files of a model, one of them damaged."""
    kind = generator.choice(["xml", "xml", "bin", "onnx", "onnx"])
    if kind == "onnx":
        path = folder / "model.onnx"
        path.write_bytes(damaged(files.onnx, generator))
        return path
    path = folder / "model.xml"
    path.write_bytes(damaged(files.xml, generator) if kind == "xml" else files.xml)
    path.with_suffix(".bin").write_bytes(damaged(files.bin, generator) if kind == "bin" else files.bin)
    return path


@pytest.mark.parametrize("cases", [40, pytest.param(500, marks=pytest.mark.slow)])
def test_damaged_files_are_read_or_refused(cases: int, files: Files, tmp_path: Path) -> None:
    refused = 0
    for seed in range(cases):
        path = write(files, random.Random(seed), tmp_path)
        try:
            model = to_openvino(load_model(str(path), base_directory=tmp_path), SAMPLE_SIZE)
            # What is still a model need not be a good one, nor one that can be quantized.
            if cases > 100 or seed % 10 == 0:
                quantize(model, as_dataset(random_images(4)), small_config())
        except NncfMcqError as error:
            refused += 1
            assert len(str(error)) < LONGEST_MESSAGE, seed
            assert "Traceback" not in str(error)
    assert cases / 2 < refused < cases


SILENT = "class E(BaseException):\n    def __str__(self): raise ValueError\n"


@pytest.mark.parametrize(
    "statement",
    [
        "raise SystemExit(3)",
        "def build(): raise SystemExit",
        "class E(BaseException): ...\nraise E",
        f"{SILENT}raise E",
        f"{SILENT}def build(): raise E",
        f"{SILENT}def __getattr__(name): raise E",
        f"import torch\n{SILENT}class build(torch.nn.Module):\n    def eval(self): raise E",
    ],
)
def test_a_python_file_of_the_user_may_raise_anything(statement: str, tmp_path: Path) -> None:
    (tmp_path / "file.py").write_text(statement)
    with pytest.raises(NncfMcqError, match=r"^model: found ") as caught:
        to_openvino(load_model("file.py:build", base_directory=tmp_path), SAMPLE_SIZE)
    assert "SystemExit" in str(caught.value) or "E: E" in str(caught.value)


@pytest.mark.parametrize("statement", ["raise E", "raise SystemExit", "raise RuntimeError('no\\nroom' * 9999)"])
def test_a_forward_of_the_user_may_raise_anything(statement: str, tmp_path: Path) -> None:
    code = f"import torch\n{SILENT}class build(torch.nn.Module):\n    def forward(self, x): {statement}"
    (tmp_path / "file.py").write_text(code)
    with pytest.raises(NncfMcqError, match="OpenVINO cannot convert the torch model: ") as caught:
        to_openvino(load_model("file.py:build", base_directory=tmp_path), SAMPLE_SIZE)
    assert len(str(caught.value).splitlines()) == 1
    assert len(str(caught.value)) < 2 * LONGEST_MESSAGE


def test_warnings_are_told_after_a_conversion_that_failed(tmp_path: Path) -> None:
    code = "import torch\nclass build(torch.nn.Module):\n    def forward(self, x): raise ValueError"
    (tmp_path / "file.py").write_text(code)
    root = logging.getLogger()
    before = root.level, list(root.handlers)
    with pytest.raises(NncfMcqError, match="OpenVINO cannot convert"):
        to_openvino(load_model("file.py:build", base_directory=tmp_path), SAMPLE_SIZE)
    assert (root.level, root.handlers) == before


def test_loading_of_a_checkpoint_may_raise_anything(tmp_path: Path) -> None:
    code = f"import torch\n{SILENT}class build(torch.nn.Module):\n    def load_state_dict(self, state): raise E"
    (tmp_path / "file.py").write_text(code)
    torch.save({}, tmp_path / "weights.pt")
    with pytest.raises(NncfMcqError, match=r"^checkpoint: found .*, allowed: the state dict of this model \(E\)$"):
        load_model("file.py:build", base_directory=tmp_path, checkpoint="weights.pt")


def test_an_input_beyond_memory_is_refused_with_the_estimate() -> None:
    with pytest.raises(NncfMcqError, match=r"fits into memory \(12,000,000,000.0 GB are needed, .* GB are available\)"):
        to_openvino(small_network(), [1, 3, 10**9, 10**9])
