"""What a model file is made of, which of its layers run in floating point, and why."""

from __future__ import annotations

import ast
import json
import re
from dataclasses import dataclass
from pathlib import Path

import openvino as ov

from nncf_mcq import FLOAT_CHOICE, Policy
from nncf_mcq.ir import RT_INFO_SECTION, WEIGHTS_NOT_QUANTIZED, float_cause, runtime_precisions
from nncf_mcq.model import INTEGER_PRECISIONS
from openvino_eval.conversions import PrecisionConversion, find_islands
from openvino_eval.layers import count_integer_layers, runtime_layers
from openvino_eval.options import DEFAULT_THREADS
from openvino_eval.runtime import read_and_compile, read_model
from openvino_eval.size import ModelSize, measure_size


@dataclass(frozen=True)
class FloatLayer:
    """A convolution or matrix product that runs in floating point.

    Attributes:
        name: Its name in the model, which `ignored_scopes` takes.
        kind: Its type, e.g. `Convolution`.
        precision: What it runs in, e.g. `f32`.
        is_quantized: Whether its weights are quantized: what quantizes its input is computed for nothing.
        cause: Why, in words.
    """

    name: str
    kind: str
    precision: str
    is_quantized: bool
    cause: str


@dataclass(frozen=True)
class Inspection:
    """What is known of a model file.

    Attributes:
        size: Its files and constants.
        integer_layers: Convolutions and matrix products that run on integers.
        compute_layers: Of how many.
        float_layers: Those that do not, in the order of the model.
        conversions: Steps that do nothing but change the precision, in the order of the inference.
        ignored_scopes: Layers that would be better left in floating point when the model is quantized: those that run
            so in spite of their quantized weights, and those that compute less than their conversions cost.
    """

    size: ModelSize
    integer_layers: int
    compute_layers: int
    float_layers: tuple[FloatLayer, ...]
    conversions: tuple[PrecisionConversion, ...]
    ignored_scopes: tuple[str, ...]


def inspect_model(path: Path, *, threads: int = DEFAULT_THREADS) -> Inspection:
    """Read a model, compile it, and look at what came out.

    Args:
        path: OpenVINO IR, whoever made it.
        threads: Inference threads.

    Raises:
        EvaluationError: It is not an IR, or cannot be read or compiled.
    """
    size, model = measure_size(path), read_model(path)
    compiled = read_and_compile(model, threads=threads)
    integer, total = count_integer_layers(runtime_layers(compiled))
    operations = {node.get_friendly_name(): node for node in model.get_ops()}
    order = [node.get_friendly_name() for node in model.get_ordered_ops()]
    precisions = runtime_precisions(compiled, model)
    reasons = _Reasons(model)
    float_layers = tuple(
        reasons.explain(operations[name], precision)
        for name, precision in precisions.items()
        if precision not in INTEGER_PRECISIONS
    )
    islands, conversions = find_islands(compiled, model)
    costly = {name for island in islands if not island.is_worth_it for name in island.layers}
    in_vain = {layer.name for layer in float_layers if layer.is_quantized}
    ignored = tuple(sorted(costly | in_vain, key=order.index))
    return Inspection(size, integer, total, float_layers, tuple(conversions), ignored)


class _Reasons:
    """Explains layers of one model: by what quantized it, where that has left a note, else by what it looks like."""

    def __init__(self, model: ov.Model) -> None:
        self._model = model
        self._names, self._patterns, self._types = _nncf_scopes(model)
        scopes, self._float_layers = _own_notes(model)
        prefix = "{re}"
        self._names |= {scope for scope in scopes if not scope.startswith(prefix)}
        self._patterns |= {scope.removeprefix(prefix) for scope in scopes if scope.startswith(prefix)}

    def explain(self, layer: ov.Node, precision: str) -> FloatLayer:
        cause = float_cause(self._model, layer)
        is_quantized = cause != WEIGHTS_NOT_QUANTIZED
        name, kind = layer.get_friendly_name(), layer.get_type_name()
        if not is_quantized:
            if name in self._float_layers:
                cause = "the policy leaves it in floating point"
            elif name in self._names or kind in self._types or any(re.match(item, name) for item in self._patterns):
                cause = "ignored_scopes names it"
        return FloatLayer(name, kind, precision, is_quantized, cause)


def _nncf_scopes(model: ov.Model) -> tuple[set[str], set[str], set[str]]:
    """Names, patterns and types that NNCF was told to ignore."""

    def read(key: str) -> set[str]:
        text = _note(model, ["nncf", "quantization", "ignored_scope", key])
        return set() if text is None else set(ast.literal_eval(text))

    return read("names"), read("patterns"), read("types")


def _own_notes(model: ov.Model) -> tuple[list[str], set[str]]:
    """What a file of nncf-mcq says of itself: its ignored scopes, and the layers that its policy leaves in float."""
    texts = [_note(model, [RT_INFO_SECTION, key]) for key in ("config", "policy")]
    config, policy = (None if text is None else json.loads(text) for text in texts)
    scopes = [] if config is None else config.get("compression", {}).get("ignored_scopes", [])
    bits = {} if policy is None else Policy.from_dict(policy).weight_bits
    return scopes, {name for name, width in bits.items() if width == FLOAT_CHOICE}


def _note(model: ov.Model, path: list[str]) -> str | None:
    """Text that a file carries, None where there is none."""
    try:
        return str(model.get_rt_info(path).astype(str))
    except RuntimeError:  # whether a section is there cannot be asked where a text stands in its place
        return None
