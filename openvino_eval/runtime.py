"""How a model is read and compiled for a measurement: every property that changes the figures is pinned here."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import openvino as ov

from nncf_mcq import NncfMcqError
from nncf_mcq.model import compile_model, compile_properties, core, has_bf16
from nncf_mcq.utils import last_line
from openvino_eval.errors import EvaluationError
from openvino_eval.options import DEFAULT_THREADS, Precision


def check_precisions(precisions: Sequence[Precision]) -> list[Precision]:
    """The precisions, each once.

    Args:
        precisions: What float layers should run in.

    Raises:
        EvaluationError: This processor has no bf16: OpenVINO would silently compute in f32.
    """
    found = list(dict.fromkeys(precisions))
    if Precision.BF16 in found and not has_bf16():
        raise EvaluationError("--precision: found bf16, allowed on this processor, which has no bf16: f32")
    return found


def check_threads(threads: int) -> int:
    """The number of threads.

    Args:
        threads: Inference threads, at least 1.

    Raises:
        EvaluationError: It is below 1.
    """
    if threads < 1:
        raise EvaluationError(f"threads: found {threads}, allowed: 1 or more")
    return threads


@contextmanager
def evaluation_errors(name: str) -> Iterator[None]:
    """Turns what OpenVINO and `nncf_mcq` raise on a model that cannot be run into an EvaluationError.

    Args:
        name: Of the model, for the message.

    Raises:
        EvaluationError: Something was raised.
    """
    try:
        yield
    except NncfMcqError as error:
        raise EvaluationError(f"{name}: {error}") from error
    except RuntimeError as error:
        raise EvaluationError(f"{name}: OpenVINO cannot run it: {last_line(error)}") from error


def read_model(path: Path) -> ov.Model:
    """Read a model file.

    Args:
        path: OpenVINO IR (`.xml` with its `.bin` beside it) or any other file that OpenVINO reads, e.g. ONNX.

    Returns:
        The model.

    Raises:
        EvaluationError: There is no such file, or OpenVINO cannot read it.
    """
    if not path.is_file():
        raise EvaluationError(f"{path}: no such file")
    weights = path.with_suffix(".bin")
    if path.suffix == ".xml" and not weights.is_file():
        raise EvaluationError(f"{path}: its weights {weights.name} are missing")
    try:
        return core().read_model(path)
    except RuntimeError as error:
        raise EvaluationError(f"{path}: OpenVINO cannot read it: {last_line(error)}") from error


def read_and_compile(
    model: Path | ov.Model,
    *,
    threads: int = DEFAULT_THREADS,
    precision: Precision = Precision.F32,
    counts_time: bool = False,
    properties: Mapping[str, object] | None = None,
) -> ov.CompiledModel:
    """Compile a model for the CPU with pinned properties.

    Args:
        model: A model, or the file of one.
        threads: Inference threads, at least 1.
        precision: What float layers run in.
        counts_time: Whether the plugin takes the time of each layer, which costs time itself.
        properties: Further properties of the CPU, which replace the pinned ones.

    Returns:
        The compiled model.

    Raises:
        EvaluationError: The model cannot be read or compiled, or an argument is out of range.
    """
    name = str(model) if isinstance(model, Path) else model.get_friendly_name()
    loaded = read_model(model) if isinstance(model, Path) else model
    with evaluation_errors(name):
        if properties:
            pinned = compile_properties(check_threads(threads), precision.value) | dict(properties)
            return core().compile_model(loaded, "CPU", pinned | ({"PERF_COUNT": True} if counts_time else {}))
        return compile_model(loaded, check_threads(threads), precision.value, counts_time=counts_time)
