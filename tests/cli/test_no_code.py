"""`--no-code`: nothing that a configuration names is imported or called."""

from __future__ import annotations

import inspect
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from nncf_mcq import ConfigError
from nncf_mcq.cli import application
from nncf_mcq.cli.arguments import read_job


@pytest.mark.parametrize("model", ["torchvision.models:resnet18", "file.py:build", "model.pt2", "os:getcwd"])
def test_models_that_run_code_are_refused_before_it_runs(model: str, tmp_path: Path) -> None:
    (tmp_path / "file.py").write_text(f"from pathlib import Path; Path({str(tmp_path / 'ran')!r}).touch()")
    config = tmp_path / "config.json"
    config.write_text(json.dumps({"model": model}))
    with pytest.raises(
        ConfigError, match=r"^model: found '.*', allowed: a file \(\.xml, \.onnx, \.tflite\): --no-code"
    ):
        read_job(str(config), None, no_code=True)
    assert read_job(str(config), None).config.model is not None
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("values", [{"model": "model.xml"}, {"model": "model.onnx"}, {"model": "model.tflite"}, {}])
def test_files_of_data_are_taken(values: dict[str, Any], tmp_path: Path) -> None:
    config = tmp_path / "config.json"
    config.write_text(json.dumps(values))
    read_job(str(config), None, no_code=True)


def test_what_replaces_the_model_is_refused_as_well(tmp_path: Path) -> None:
    config = tmp_path / "config.json"
    config.write_text(json.dumps({"model": "model.xml"}))
    with pytest.raises(ConfigError, match="--no-code"):
        read_job(str(config), ["model=os:getcwd"], no_code=True)


def test_every_command_that_loads_a_model_has_the_option() -> None:
    commands: list[Callable[..., Any]] = [
        command.callback for command in application.registered_commands if command.callback is not None
    ]
    with_config = [command for command in commands if "read_job(" in inspect.getsource(command)]
    assert len(with_config) > 5
    for command in with_config:
        assert "no_code" in inspect.signature(command).parameters, command.__name__
        assert "no_code=no_code" in inspect.getsource(command), command.__name__
