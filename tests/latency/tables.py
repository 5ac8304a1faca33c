"""Latency tables that nobody measured."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from nncf_mcq.latency import LatencyKey, LatencyTable, LayerLatency, PrecisionConversion


def make_table(
    extra: Mapping[str, float],
    switches: Mapping[tuple[str, str], float] | None = None,
    *,
    int8: float = 10.0,
    precision: Literal["f32", "bf16"] = "f32",
    model: str = "model",
) -> LatencyTable:
    """A table of another machine; all in milliseconds, float layers take `extra` longer."""
    key = LatencyKey(cpu="none", capabilities=(), openvino="0", threads=1, precision=precision, model=model, method=1)
    return LatencyTable(
        key=key,
        int8_ms=int8,
        float_ms=int8 + sum(extra.values()),
        layers={name: LayerLatency(int8_ms=int8 / len(extra), extra_ms=value) for name, value in extra.items()},
        precision_conversions=tuple(
            PrecisionConversion(source=source, target=target, ms=value)
            for (source, target), value in (switches or {}).items()
        ),
    )
