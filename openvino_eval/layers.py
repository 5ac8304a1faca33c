"""Precision that each layer really runs in.

A model may hold 8-bit or packed weights and still compute in float: the CPU plugin falls back silently where it does
not know a pattern. Only the compiled model tells.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import openvino as ov

from nncf_mcq.model import INTEGER_PRECISIONS
from openvino_eval.options import DEFAULT_THREADS, Precision
from openvino_eval.runtime import read_and_compile

COMPUTE_TYPES: Final = frozenset({"Convolution", "Deconvolution", "FullyConnected", "MatMul", "RNNSeq", "RNNCell"})
"""The plugin's names of the layers that multiply weights; group convolutions are `Convolution` there, and each
direction of a recurrent layer is one."""


@dataclass(frozen=True)
class RuntimeLayer:
    """One node of the compiled graph.

    Attributes:
        name: The plugin's name of it, most often the name of the operation it came from.
        layer_type: The plugin's type, e.g. `Convolution`.
        precision: What it runs in, e.g. `u8`, `i8`, `f32`, `bf16`.
        kernel: The primitive that was chosen, e.g. `brgconv_avx512_I8`.
        original_names: The model's operations that were fused into it.
    """

    name: str
    layer_type: str
    precision: str
    kernel: str
    original_names: tuple[str, ...]

    @property
    def is_compute(self) -> bool:
        """Whether it multiplies weights: a convolution, a matrix product or a recurrent layer."""
        return self.layer_type in COMPUTE_TYPES

    @property
    def is_integer(self) -> bool:
        """Whether it runs on 8-bit integers."""
        return self.precision in INTEGER_PRECISIONS


def runtime_layers(
    model: Path | ov.Model | ov.CompiledModel,
    *,
    threads: int = DEFAULT_THREADS,
    precision: Precision = Precision.F32,
    properties: Mapping[str, object] | None = None,
) -> list[RuntimeLayer]:
    """List what a model is compiled to.

    Args:
        model: The file of a model, a model, or a compiled model (then the other arguments do not count).
        threads: Inference threads.
        precision: What float layers run in.
        properties: Further properties of the CPU, which replace the pinned ones.

    Returns:
        Every executed node in execution order; inputs, outputs and constants are left out.

    Raises:
        EvaluationError: The model cannot be read or compiled.
    """
    compiled = (
        model
        if isinstance(model, ov.CompiledModel)
        else read_and_compile(model, threads=threads, precision=precision, properties=properties)
    )
    layers = []
    for node in compiled.get_runtime_model().get_ordered_ops():
        facts = node.get_rt_info()
        layer_type = str(facts["layerType"].value)
        if layer_type in {"Input", "Output", "Const"}:
            continue
        layers.append(
            RuntimeLayer(
                name=node.get_friendly_name(),
                layer_type=layer_type,
                precision=str(facts["runtimePrecision"].value),
                kernel=str(facts["primitiveType"].value),
                original_names=tuple(str(facts["originalLayersNames"].value).split(",")),
            )
        )
    return layers


def count_precisions(layers: list[RuntimeLayer]) -> dict[str, dict[str, int]]:
    """Count compute layers by type and precision.

    Args:
        layers: From `runtime_layers`.

    Returns:
        Layer type -> precision -> how many.
    """
    counts = Counter((layer.layer_type, layer.precision) for layer in layers if layer.is_compute)
    table: dict[str, dict[str, int]] = {}
    for (layer_type, precision), count in sorted(counts.items()):
        table.setdefault(layer_type, {})[precision] = count
    return table


def count_integer_layers(layers: list[RuntimeLayer]) -> tuple[int, int]:
    """How many compute layers run on 8-bit integers.

    Args:
        layers: From `runtime_layers`.

    Returns:
        How many do, and how many compute layers there are.
    """
    compute = [layer for layer in layers if layer.is_compute]
    return sum(layer.is_integer for layer in compute), len(compute)
