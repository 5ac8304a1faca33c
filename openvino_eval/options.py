"""Options of the measurements; read without OpenVINO, as the help of the command is."""

from __future__ import annotations

import enum
from typing import Final

DEFAULT_THREADS: Final = 2

REPORT_FILE: Final = "report.html"


class Precision(enum.StrEnum):
    """Precision of layers that are not quantized."""

    F32 = "f32"
    BF16 = "bf16"


class Mode(enum.StrEnum):
    """Mode of `benchmark_app`."""

    LATENCY = "latency"
    THROUGHPUT = "throughput"
