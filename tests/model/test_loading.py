"""Model files and callables that cannot be used: one message each, which says what and where."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import openvino as ov
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper
from openvino import opset13 as opset

from nncf_mcq import ConfigError, QuantizationError
from nncf_mcq.cli import main
from nncf_mcq.config.schema import load_config
from nncf_mcq.model.loading import load_model, to_openvino
from tests.models import SAMPLE_SIZE, convolution_model, small_network

SHAPES = ((1, 3, 8, 8), (4, 3, 3, 3))

CODE = """
import torch

def nothing():
    return None

def fails(depth=1):
    raise ValueError("no such depth\\nat all")

def refuses(depth):
    return torch.nn.Conv2d(3, depth, 1)

class Network(torch.nn.Module):
    pass

def program():
    return torch.export.export(torch.nn.Conv2d(3, 4, 1), (torch.zeros(1, 3, 8, 8),))
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Files that are broken in one way each."""
    for name in ("cut", "unread", "alone"):
        ov.save_model(convolution_model(*SHAPES), tmp_path / f"{name}.xml", compress_to_fp16=False)
    weights = (tmp_path / "cut.bin").read_bytes()
    (tmp_path / "cut.bin").write_bytes(weights[: len(weights) // 2])
    text = (tmp_path / "unread.xml").read_text()
    (tmp_path / "unread.xml").write_text(text[: len(text) // 2])
    (tmp_path / "alone.bin").unlink()
    kernel = numpy_helper.from_array(np.ones(SHAPES[1], dtype=np.float32), "w")
    graph = helper.make_graph(
        [helper.make_node("Conv", ["x", "w"], ["y"], "Conv_0")],
        "graph",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, list(SHAPES[0]))],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        [kernel],
    )
    whole = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8).SerializeToString()
    assert onnx.load_from_string(whole).graph.node[0].name == "Conv_0"
    (tmp_path / "cut.onnx").write_bytes(whole[: len(whole) // 2])
    for suffix in ("xml", "onnx", "tflite", "pt2"):
        (tmp_path / f"empty.{suffix}").write_bytes(b"")
        (tmp_path / f"garbage.{suffix}").write_bytes(b"\x08\x07garbage" * 9)
    for suffix in ("empty", "garbage"):
        (tmp_path / f"{suffix}.bin").write_bytes(b"")
    torch.save(small_network().state_dict(), tmp_path / "state.pt2")
    (tmp_path / "code.py").write_text(CODE)
    (tmp_path / "raises.py").write_text("raise RuntimeError('no')\n")
    (tmp_path / "syntax.py").write_text("def make(:\n")
    return tmp_path


@pytest.mark.parametrize(
    ("reference", "message"),
    [
        ("cut.xml", r"a \.xml file that can be read \(Incorrect weights in bin file!\)"),
        ("unread.xml", r"a \.xml file that can be read \(.* at offset \d+\)"),
        ("alone.xml", r"an \.xml file with alone\.bin beside it"),
        ("missing.xml", r"an existing \.xml file"),
        ("cut.onnx", r"a \.onnx file that can be read \(OpenVINO does not know what is in it\)"),
        *(
            (f"{name}.{suffix}", rf"a \.{suffix} file that can be read \(.+\)")
            for name in ("empty", "garbage")
            for suffix in ("xml", "onnx", "tflite", "pt2")
        ),
        ("state.pt2", r"a \.pt2 file that can be read \(.+\)"),
        ("missing.py:make", "an existing Python file"),
        ("raises.py:make", r"a Python file that can be imported \(RuntimeError: no\)"),
        ("syntax.py:make", r"a Python file that can be imported \(SyntaxError: .*line 1\)\)"),
        ("code.py:missing", r"a callable of code\.py"),
        ("code.py:torch", r"a callable of code\.py"),
        ("code.py:nothing", r"a callable that returns a torch\.nn\.Module, .* \(it returned NoneType\)"),
        ("code.py:fails", r"a callable that returns a model \(ValueError: no such depth at all\)"),
        ("code.py:refuses", r"arguments of code\.py:refuses \(.*missing 1 required positional argument: 'depth'\)"),
        (":make", r"an installed module \(ValueError: Empty module name\)"),
        ("..:make", r"an installed module \(TypeError: .*\)"),
        ("no_such_package.models:make", r"an installed module \(ModuleNotFoundError: .*\)"),
        (
            "model.caffemodel",
            r"PACKAGE\.MODULE:CALLABLE, FILE\.py:CALLABLE, or an \.xml, \.onnx, \.tflite or \.pt2 file",
        ),
    ],
)
def test_what_cannot_be_loaded_is_named(
    reference: str, message: str, folder: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(ConfigError, match=rf"^model(_arguments)?: found .*, allowed: {message}$"):
        load_model(reference, base_directory=folder)
    # Native readers have their own say on the standard error.
    assert "rror" not in capfd.readouterr().err


@pytest.mark.parametrize("reference", ["garbage.onnx", "raises.py:make"])
def test_the_command_line_shows_the_message_alone(
    reference: str, folder: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    (folder / "config.json").write_text(f'{{"model": "{reference}"}}')
    monkeypatch.setattr("sys.argv", ["nncf-mcq", "layers", str(folder / "config.json")])
    with pytest.raises(SystemExit) as caught:
        main()
    printed = capfd.readouterr().err.strip()
    assert caught.value.code not in (0, None)
    assert printed.startswith("error: model: found ")
    assert len(printed.splitlines()) == 1


def test_what_a_callable_returns_may_be_an_exported_program(folder: Path) -> None:
    assert isinstance(load_model("code.py:program", base_directory=folder), torch.export.ExportedProgram)
    with pytest.raises(
        ConfigError, match=r"returns a torch.nn.Module, where checkpoint is given \(it returned Exported"
    ):
        load_model("code.py:program", base_directory=folder, checkpoint="state.pt2")


@pytest.mark.parametrize(
    ("model", "resolved"),
    [
        ("model.tflite", "/there/model.tflite"),
        ("a:b/model.onnx", "/there/a:b/model.onnx"),
        ("code.py:make", "/there/code.py:make"),
        ("package.module:make", "package.module:make"),
    ],
)
def test_files_of_models_are_paths_of_the_configuration(model: str, resolved: str) -> None:
    assert load_config({"model": model}).map_paths(lambda path: f"/there/{path}").model == resolved


def test_an_ir_is_read(folder: Path) -> None:
    ov.save_model(convolution_model(*SHAPES), folder / "whole.xml", compress_to_fp16=False)
    model = load_model("whole.xml", base_directory=folder)
    assert isinstance(model, ov.Model)
    assert list(model.input(0).shape) == list(SAMPLE_SIZE)


@pytest.mark.parametrize("key", [None, "state_dict", "model_state_dict", "model"])
@pytest.mark.parametrize("prefix", ["", "module.", "_orig_mod.", "module._orig_mod."])
def test_a_checkpoint_of_a_training_run(key: str | None, prefix: str, tmp_path: Path) -> None:
    state = {f"{prefix}{name}": value + 1 for name, value in small_network().state_dict().items()}
    saved = state if key is None else {"epoch": 3, key: state}
    torch.save(saved, tmp_path / "trained.pt")
    (tmp_path / "code.py").write_text("from tests.models import small_network\n")
    loaded = load_model("code.py:small_network", base_directory=tmp_path, checkpoint="trained.pt")
    assert isinstance(loaded, torch.nn.Module)
    expected = {name: value + 1 for name, value in small_network().state_dict().items()}
    assert all(torch.equal(value, expected[name]) for name, value in loaded.state_dict().items())


def test_a_network_whose_own_names_begin_like_a_wrapper(tmp_path: Path) -> None:
    (tmp_path / "code.py").write_text(
        "import torch\n\n\nclass Wrapped(torch.nn.Module):\n    def __init__(self):\n        super().__init__()\n"
        "        self.module = torch.nn.Linear(3, 2)\n\n\ndef make():\n    return Wrapped()\n"
    )
    torch.save({"module.weight": torch.ones(2, 3), "module.bias": torch.zeros(2)}, tmp_path / "trained.pt")
    loaded = load_model("code.py:make", base_directory=tmp_path, checkpoint="trained.pt")
    assert isinstance(loaded, torch.nn.Module)
    assert torch.equal(loaded.state_dict()["module.weight"], torch.ones(2, 3))


def test_a_model_without_outputs_is_refused() -> None:
    data = opset.parameter([1, 3, 8, 8], ov.Type.f32)
    with pytest.raises(QuantizationError, match="the model has no outputs: one or more are needed"):
        to_openvino(ov.Model([], [data]), None)


def test_a_name_that_is_no_text_is_one_message(tmp_path: Path) -> None:
    xml = tmp_path / "model.xml"
    ov.save_model(convolution_model((1, 3, 8, 8), (4, 3, 3, 3)), xml)
    xml.write_bytes(xml.read_bytes().replace(b'name="layer"', b'name="lay\xf3"'))
    with pytest.raises(QuantizationError, match="the model is damaged: a name in it is no text"):
        to_openvino(load_model(str(xml), base_directory=tmp_path), None)
