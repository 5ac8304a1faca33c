"""What a report needs of the folder that `nncf_mcq` writes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError

from openvino_eval.errors import EvaluationError

RESULT_FILE = "result.json"


class LayerResult(BaseModel):
    """One quantizable layer; further keys are kept and shown.

    Attributes:
        name: Its name in the model.
        bits: Weight bits; None where it stays in float.
        rule: The clip rule that won.
        runtime_precision: What the written IR runs it in, e.g. `u8`.
    """

    model_config = ConfigDict(frozen=True, extra="allow")

    name: str
    bits: int | None = None
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
    """

    model_config = ConfigDict(frozen=True, extra="allow")

    metrics: RunMetrics = RunMetrics()
    layers: tuple[LayerResult, ...]
    search: dict[str, Any] | None = None
    timing: dict[str, Any] | None = None
    versions: dict[str, Any] | None = None


def load_run(folder: Path) -> RunResult:
    """Read an output folder of `nncf_mcq`.

    Args:
        folder: The folder that holds `result.json`.

    Returns:
        What it says.

    Raises:
        EvaluationError: The file is missing or is not such a result.
    """
    path = folder / RESULT_FILE
    if not path.is_file():
        raise EvaluationError(f"{folder}: not an output folder of nncf-mcq, it has no {RESULT_FILE}")
    try:
        return RunResult.model_validate_json(path.read_bytes())
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise EvaluationError(f"{path}: {where + ': ' if where else ''}{first['msg']}") from error
