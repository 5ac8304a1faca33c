"""Parts of an output folder of `nncf_mcq` that a report needs."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path

from nncf_mcq.config import (
    CONFIG_FILE,
    HISTOGRAM_FILE,
    MODEL_FILE,
    RESULT_FILE,
    UNVERIFIED_MODEL_FILE,
    Histograms,
    RunResult,
)
from openvino_eval.documents import read
from openvino_eval.errors import EvaluationError
from openvino_eval.layer_times import LayerTime


@dataclass(frozen=True)
class Run:
    """An output folder of `nncf_mcq`; what an older version or another tool left out is None.

    Attributes:
        result: What `result.json` says.
        histograms: Weights before and after.
        config: The configuration, as text.
        folder: Where it lies, if it was read from there.
        layer_times: The slowest first; not part of the folder.
    """

    result: RunResult
    histograms: Histograms | None = None
    config: str | None = None
    folder: Path | None = None
    layer_times: tuple[LayerTime, ...] | None = None

    @property
    def model(self) -> Path | None:
        """Its IR, where it is still there."""
        name = UNVERIFIED_MODEL_FILE if self.result.verified is False else MODEL_FILE
        path = None if self.folder is None else self.folder / name
        return path if path is not None and path.is_file() else None

    def with_layer_times(self, layer_times: list[LayerTime]) -> Run:
        """A copy with the time of each layer."""
        return dataclasses.replace(self, layer_times=tuple(layer_times))


def load_run(folder: Path) -> Run:
    """Read an output folder of `nncf_mcq`.

    Args:
        folder: The folder that holds `result.json`.

    Returns:
        What is in it.

    Raises:
        EvaluationError: The result is missing, or a file is not what its name says.
    """
    path = folder / RESULT_FILE
    if not path.is_file():
        raise EvaluationError(f"{folder}: not an output folder of nncf-mcq, it has no {RESULT_FILE}")
    histograms, config = folder / HISTOGRAM_FILE, folder / CONFIG_FILE
    return Run(
        result=read(path, RunResult),
        histograms=read(histograms, Histograms) if histograms.is_file() else None,
        config=_text(config) if config.is_file() else None,
        folder=folder,
    )


def _text(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise EvaluationError(f"{file}: cannot be read: {error}") from error
