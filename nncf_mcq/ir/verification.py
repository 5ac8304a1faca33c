"""Does the file on disk do what the scored model did: int8 where it should, and the same outputs bit for bit?"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import openvino as ov

from nncf_mcq.errors import VerificationError
from nncf_mcq.model.inference import compile_model
from nncf_mcq.policy import INT8_PRECISIONS

LAYER_TYPES = frozenset(
    {"Convolution", "GroupConvolution", "ConvolutionBackpropData", "GroupConvolutionBackpropData", "MatMul"}
)

_RUNTIME_LAYER_TYPES = frozenset({"Convolution", "Deconvolution", "FullyConnected", "MatMul"})

# A sequence of small MatMul layers becomes one node, whose precision is that of its output.
_FUSED_LAYERS = "Subgraph"

# What the plugin appends to the name of a layer when it moves the dequantization behind it.
_RENAMED_SUFFIXES = ("_original", "/DequantizationMultiply", "/DequantizationSubtract")


@dataclass(frozen=True)
class VerificationResult:
    """Result of `verify`.

    Attributes:
        precisions: Layer name to the precision that it runs in; layers that were not found are missing.
        problems: One sentence per problem, empty if the file is as it should be.
        xml_bytes: Size of the .xml file.
        bin_bytes: Size of the .bin file.
    """

    precisions: dict[str, str]
    problems: tuple[str, ...]
    xml_bytes: int
    bin_bytes: int

    @property
    def passed(self) -> bool:
        """Whether there is no problem."""
        return not self.problems

    def raise_for_problems(self) -> None:
        """Raises what was found.

        Raises:
            VerificationError: There are problems; the message has one per line.
        """
        if self.problems:
            raise VerificationError("\n".join(self.problems))


def runtime_precisions(compiled: ov.CompiledModel, model: ov.Model) -> dict[str, str]:
    """The precision that each layer of a model runs in.

    The plugin fuses and renames: a layer is found under its own name, under its name with a suffix that the plugin
    appends, or, where an addition of zeros was removed and left its name to the layer, under that of an operation that
    only this layer feeds.

    Args:
        compiled: The compiled model.
        model: The model that was compiled.

    Returns:
        Friendly name of each Convolution, GroupConvolution, MatMul (and their transposed forms) to its
        `runtimePrecision`, e.g. "i8", "u8", "f32". A layer that the plugin removed is missing.
    """
    by_name: dict[str, str] = {}
    for node in compiled.get_runtime_model().get_ordered_ops():
        information = node.get_rt_info()
        kind = _text(information, "layerType")
        if kind not in _RUNTIME_LAYER_TYPES and kind != _FUSED_LAYERS:
            continue
        precision = _subgraph_precision(node) if kind == _FUSED_LAYERS else _text(information, "runtimePrecision")
        names = [node.get_friendly_name(), *_text(information, "originalLayersNames").split(",")]
        for name in names:
            by_name.setdefault(_without_suffixes(name), precision)
    precisions: dict[str, str] = {}
    for node in model.get_ordered_ops():
        if node.get_type_name() not in LAYER_TYPES:
            continue
        found = [by_name[name] for name in _names_it_may_have(node) if name in by_name]
        if found:
            precisions[node.get_friendly_name()] = found[0]
    return precisions


def verify(
    xml: Path,
    layer_names: Collection[str],
    inputs: Sequence[npt.NDArray[Any] | Sequence[npt.NDArray[Any]]],
    reference_outputs: Sequence[Sequence[npt.NDArray[Any]]],
    threads: int,
) -> VerificationResult:
    """Reads an IR back, compiles it with the pinned properties, and compares it with the model that was scored.

    Args:
        xml: The .xml file, the .bin file next to it.
        layer_names: Friendly names of the layers that must run on int8 kernels.
        inputs: For each inference the array of the only input, or a sequence of one for each input.
        reference_outputs: For each of the inputs, all outputs of the scored model, in the model's order.
        threads: Inference threads, as many as the scored model had: the sums of float layers may depend on them.

    Returns:
        Precisions, sizes and problems. Call `raise_for_problems` to stop on one.

    Raises:
        ValueError: There are not as many reference outputs as inputs.
    """
    core = ov.Core()
    # A mapped file that is overwritten ends the process with SIGBUS: read it into memory instead.
    core.set_property({"ENABLE_MMAP": "NO"})
    model = core.read_model(xml)
    compiled = compile_model(model, threads)
    precisions = runtime_precisions(compiled, model)
    problems = [
        *_precision_problems(model, precisions, layer_names),
        *_output_problems(compiled, inputs, reference_outputs),
    ]
    sizes = (xml.stat().st_size, xml.with_suffix(".bin").stat().st_size)
    return VerificationResult(precisions, tuple(f"{xml}: {problem}" for problem in problems), *sizes)


def _precision_problems(model: ov.Model, precisions: dict[str, str], layer_names: Collection[str]) -> Iterator[str]:
    layers = {node.get_friendly_name() for node in model.get_ops() if node.get_type_name() in LAYER_TYPES}
    for name in layer_names:
        if name not in layers:
            yield f"layer {name!r} is not in the file"
        elif name not in precisions:
            yield f"layer {name!r} is not among the layers that run"
        elif precisions[name] not in INT8_PRECISIONS:
            yield f"layer {name!r} runs in {precisions[name]}, not in int8"


def _output_problems(
    compiled: ov.CompiledModel,
    inputs: Sequence[npt.NDArray[Any] | Sequence[npt.NDArray[Any]]],
    reference_outputs: Sequence[Sequence[npt.NDArray[Any]]],
) -> Iterator[str]:
    for number, (data, references) in enumerate(zip(inputs, reference_outputs, strict=True)):
        results = compiled(data)
        outputs = [np.asarray(results[port]) for port in compiled.outputs]
        if len(outputs) != len(references):
            yield f"input {number}: found {len(outputs)} outputs, expected {len(references)}"
            continue
        for index, (output, reference) in enumerate(zip(outputs, references, strict=True)):
            if output.shape != reference.shape:
                yield f"input {number}, output {index}: found shape {output.shape}, expected {reference.shape}"
            elif not np.array_equal(output, reference, equal_nan=True):
                difference = np.abs(output.astype(np.float64) - reference)
                yield (
                    f"input {number}, output {index}: {np.count_nonzero(difference)} of {difference.size} values "
                    f"differ, by up to {difference.max():.3g}"
                )


def _subgraph_precision(node: ov.Node) -> str:
    """The precision of the weights that a fused sequence reads: they stay integers only for integer kernels."""
    weights = [
        _text(source.get_rt_info(), "runtimePrecision")
        for source in (value.get_node() for value in node.input_values())
        if _text(source.get_rt_info(), "layerType") == "Const" and len(source.get_output_partial_shape(0)) == 2
    ]
    integer = next((precision for precision in weights if precision in INT8_PRECISIONS), None)
    return integer or _text(node.get_rt_info(), "runtimePrecision")


def _text(information: Any, key: str) -> str:
    return str(information[key].astype(str)) if key in information else ""


def _without_suffixes(name: str) -> str:
    for suffix in _RENAMED_SUFFIXES:
        name = name.removesuffix(suffix)
    return name


def _names_it_may_have(layer: ov.Node) -> Iterator[str]:
    """The layer's name, then those of the operations that it alone feeds, up to the next activation."""
    node = layer
    while True:
        yield node.get_friendly_name()
        consumers = list(node.output(0).get_target_inputs())
        if len(consumers) != 1:
            return
        node = consumers[0].get_node()
        activations = [value for value in node.input_values() if value.get_node().get_type_name() != "Constant"]
        if len(activations) != 1 or node.get_type_name() in LAYER_TYPES or node.get_type_name() == "Result":
            return
