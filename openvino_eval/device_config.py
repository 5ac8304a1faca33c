"""Properties of a device from a file, in the form of benchmark_app's `-load_config`."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from pydantic import BaseModel, ConfigDict

from nncf_mcq.utils import read_document
from openvino_eval.errors import EvaluationError
from openvino_eval.options import Precision

Properties = dict[str, str | bool | int | float]
"""OpenVINO's names of properties to their values."""

_PRECISION: Final = "INFERENCE_PRECISION_HINT"
_FROM_OPTIONS: Final = {"PERFORMANCE_HINT": "--mode", "INFERENCE_NUM_THREADS": "--threads", "NUM_STREAMS": "--streams"}


class _DeviceConfig(BaseModel):
    model_config = ConfigDict(extra="ignore")

    CPU: Properties


def read_properties(file: Path) -> tuple[Properties, Precision | None]:
    """The properties of the CPU in a file.

    Args:
        file: JSON: device -> property -> value.

    Returns:
        The properties, and the precision of float layers where it is among them; it is taken out then.

    Raises:
        EvaluationError: The file names a property that an option sets, or a precision that cannot be measured.
        DocumentError: The file cannot be read or has no properties of the CPU.
    """
    found = dict(read_document(file, _DeviceConfig).CPU)
    for name, option in _FROM_OPTIONS.items():
        if name in found:
            raise EvaluationError(f"{file}: found {name}, allowed: other properties; {option} sets it")
    value = found.pop(_PRECISION, None)
    if value is None:
        return found, None
    try:
        return found, Precision(str(value))
    except ValueError:
        allowed = " or ".join(Precision)
        raise EvaluationError(f"{file}: found {_PRECISION} {value}, allowed: {allowed}") from None
