"""What a report needs of the folder that `nncf_mcq` writes."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from openvino_eval.errors import EvaluationError
from openvino_eval.layer_times import LayerTime

RESULT_FILE, HISTOGRAM_FILE, CONFIG_FILE, MODEL_FILE = "result.json", "histograms.json", "config.json", "model.xml"

Document = TypeVar("Document", bound=BaseModel)


class LayerResult(BaseModel):
    """One quantizable layer; further keys are kept and shown.

    Attributes:
        name: Its name in the model.
        bits: Weight bits; None where it stays in float.
        activation_bits: Width of its input; None where that stays in float.
        rule: The clip rule that won.
        runtime_precision: What the written IR runs it in, e.g. `u8`.
    """

    model_config = ConfigDict(frozen=True, extra="allow")

    name: str
    bits: int | None = None
    activation_bits: int | None = None
    rule: str | None = None
    runtime_precision: str | None = None


class RunMetrics(BaseModel):
    """Metrics of the float model and of the IR, by name; values that are not numbers are allowed and shown."""

    model_config = ConfigDict(frozen=True, extra="allow")

    float: dict[str, Any] = {}
    quantized: dict[str, Any] = {}


class RunResult(BaseModel):
    """A `result.json`; only the layers are required.

    Attributes:
        metrics: Of the float model and of the IR.
        layers: In the order of the model.
        search: How the policy was found.
        timing: Seconds by step.
        versions: Of the packages that made it.
        origin: `config` and `command`, where a command made it.
    """

    model_config = ConfigDict(frozen=True, extra="allow")

    metrics: RunMetrics = RunMetrics()
    layers: tuple[LayerResult, ...]
    search: dict[str, Any] | None = None
    timing: dict[str, Any] | None = None
    versions: dict[str, Any] | None = None
    origin: dict[str, str] | None = None


class LayerHistogram(BaseModel):
    """Weights of one layer before and after, in units of each channel's clip range, whose ends are -1 and 1.

    Attributes:
        float_counts: Float weights in bins of equal width over the whole reach.
        level_counts: Weights on each level, from -1 to 1.
        clipped: Share of float weights outside the range by more than half a step.
        thresholds: Smallest, median and largest absolute threshold of the channels.
        largest: Largest absolute float weight.
    """

    model_config = ConfigDict(frozen=True)

    float_counts: tuple[int, ...]
    level_counts: tuple[int, ...]
    clipped: float
    thresholds: tuple[float, float, float]
    largest: float


class Histograms(BaseModel):
    """A `histograms.json`.

    Attributes:
        reach: Bins go from minus to plus this many times the range.
        layers: By name.
    """

    model_config = ConfigDict(frozen=True)

    reach: float
    layers: dict[str, LayerHistogram]


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
        path = None if self.folder is None else self.folder / MODEL_FILE
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
        result=_read(path, RunResult),
        histograms=_read(histograms, Histograms) if histograms.is_file() else None,
        config=config.read_text(encoding="utf-8") if config.is_file() else None,
        folder=folder,
    )


def _read(path: Path, document: type[Document]) -> Document:
    try:
        return document.model_validate_json(path.read_bytes())
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise EvaluationError(f"{path}: {where + ': ' if where else ''}{first['msg']}") from error
