"""How the benchmarks end where they cannot go on."""

from __future__ import annotations

import argparse

import pytest

from benchmarks.command import errors_as_messages
from nncf_mcq import ConfigError


@pytest.mark.parametrize(
    ("error", "code", "message"),
    [
        (ConfigError("model", "m.onnx", "a file"), 2, "error: model: found 'm.onnx', allowed: a file\n"),
        (ValueError("no draws"), 2, "error: no draws\n"),
        (KeyboardInterrupt(), 130, "interrupted\n"),
    ],
)
def test_one_line_and_no_traceback(
    error: BaseException, code: int, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as caught, errors_as_messages(argparse.ArgumentParser(), ValueError):
        raise error
    assert caught.value.code == code
    assert capsys.readouterr().err == message
