"""Ctrl-C before there is anything to go on with."""

from __future__ import annotations

from pathlib import Path

import pytest

from nncf_mcq.cli import main
from nncf_mcq.job import Job
from tests.commands import write_config


def test_ctrl_c_before_the_search_says_that_nothing_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupted(self: Job, progress: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(Job, "inputs", interrupted)
    config, output = write_config(tmp_path, {"type": "ilp"}), tmp_path / "out"
    monkeypatch.setattr("sys.argv", ["nncf-mcq", "quantize", str(config), "--output", str(output)])
    with pytest.raises(SystemExit) as caught:
        main()
    assert caught.value.code == 130
    assert capsys.readouterr().err == f"nothing is written to {output} yet\ninterrupted\n"
    assert not output.exists()
