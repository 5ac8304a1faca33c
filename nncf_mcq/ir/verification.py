"""Does the file on disk do what the scored model did: the same outputs, and which layers of it run in int8?"""

from __future__ import annotations

import itertools
import math
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import openvino as ov

from nncf_mcq.errors import QuantizationError, VerificationError
from nncf_mcq.ir.float_causes import float_cause, float_sentences
from nncf_mcq.ir.runtime_graph import runtime_precisions
from nncf_mcq.model.inference import compile_model
from nncf_mcq.policy import INTEGER_PRECISIONS
from nncf_mcq.utils.messages import last_line

TOLERANCE = 1e-5
"""Largest difference to the scored model's outputs that passes, as a part of the range of each output.

Equality of all bits is the rule. Sums of floating-point layers in another order differ by some 1e-7 of the range; a
value that falls on the other side of a rounding differs by a whole step of a quantizer, which is 4e-3 of its range at 8
bits.
"""

ROUNDING_TOLERANCE = 0.05
"""Largest difference where the same layers run on other kernels: floating-point sums for those of integers, or a
preprocessing whose last digit is the compiler's. Where a value then falls on the other side of a rounding, outputs
differ by steps of quantizers.
"""


@dataclass(frozen=True)
class FloatLayer:
    """A layer with quantized weights that does not run on integers.

    Attributes:
        name: Its name in the model.
        precision: What it runs in; None where the plugin does not tell.
        cause: Likely cause, in words that follow "it runs in f32: ".
    """

    name: str
    precision: str | None
    cause: str


@dataclass(frozen=True)
class VerificationResult:
    """Result of `verify`.

    Attributes:
        precisions: Layer name to the precision that it runs in; layers that were not found are missing.
        float_layers: Layers that do not run in int8 although they should. No problem: the scored model ran so too.
        difference: Largest difference to an output of the scored model, as a part of the range of that output; 0 if
            all outputs are equal bit for bit.
        problems: One sentence per problem, empty if the file is as it should be.
        xml_bytes: Size of the .xml file.
        bin_bytes: Size of the .bin file.
        tolerance: Largest difference that passes.
    """

    precisions: dict[str, str]
    float_layers: tuple[FloatLayer, ...]
    difference: float
    problems: tuple[str, ...]
    xml_bytes: int
    bin_bytes: int
    tolerance: float = TOLERANCE

    @property
    def passed(self) -> bool:
        """Whether there is no problem."""
        return not self.problems

    @property
    def warnings(self) -> tuple[str, ...]:
        """What a user should know although it is no problem."""
        found = list(float_sentences((layer.name, layer.precision, layer.cause) for layer in self.float_layers))
        if self.passed and self.difference:
            found.append(
                f"outputs of the file differ from those of the scored model by up to {self.difference:.1g} of their "
                f"range; up to {self.tolerance:.0e} passes"
            )
        return tuple(found)

    def raise_for_problems(self) -> None:
        """Raises what was found.

        Raises:
            VerificationError: There are problems; the message has one per line.
        """
        if self.problems:
            raise VerificationError("\n".join(self.problems))


def verify(
    xml: Path,
    layer_names: Collection[str],
    inputs: Sequence[npt.NDArray[Any] | Sequence[npt.NDArray[Any]]],
    reference_outputs: Sequence[Sequence[npt.NDArray[Any]]],
    threads: int,
    tolerance: float = TOLERANCE,
) -> VerificationResult:
    """Reads an IR back, compiles it with the pinned properties, and compares it with the model that was scored.

    Args:
        xml: The .xml file, the .bin file next to it.
        layer_names: Friendly names of the layers that should run on int8 kernels.
        inputs: For each inference the array of the only input, or a sequence of one for each input.
        reference_outputs: For each of the inputs, all outputs of the scored model, in the model's order.
        threads: Inference threads, as many as the scored model had: the sums of float layers may depend on them.
        tolerance: Largest difference of an output that passes, as a part of its range.

    Returns:
        Precisions, sizes, warnings and problems. Call `raise_for_problems` to stop on one.

    Raises:
        ValueError: There are not as many reference outputs as inputs.
    """
    sizes = (xml.stat().st_size, xml.with_suffix(".bin").stat().st_size)
    core = ov.Core()
    # A mapped file that is overwritten ends the process with SIGBUS: read it into memory instead.
    core.set_property({"ENABLE_MMAP": "NO"})
    try:
        model = core.read_model(xml)
        compiled = compile_model(model, threads)
        difference, problems = _compare(compiled, inputs, reference_outputs, tolerance)
    except (RuntimeError, QuantizationError) as error:
        return VerificationResult({}, (), math.inf, (f"OpenVINO cannot run it: {last_line(error)}",), *sizes)
    precisions = runtime_precisions(compiled, model)
    return VerificationResult(
        precisions,
        tuple(_float_layers(model, precisions, layer_names)),
        difference,
        tuple(problems),
        *sizes,
        tolerance,
    )


def _float_layers(model: ov.Model, precisions: dict[str, str], layer_names: Collection[str]) -> Iterator[FloatLayer]:
    layers = {node.get_friendly_name(): node for node in model.get_ops()}
    for name in layer_names:
        precision = precisions.get(name)
        if name not in layers:
            yield FloatLayer(name, None, "the file has no layer of that name")
        elif precision is None:
            yield FloatLayer(name, None, "the plugin has fused or removed it")
        elif precision not in INTEGER_PRECISIONS:
            yield FloatLayer(name, precision, float_cause(model, layers[name]))


def _compare(
    compiled: ov.CompiledModel,
    inputs: Sequence[npt.NDArray[Any] | Sequence[npt.NDArray[Any]]],
    reference_outputs: Sequence[Sequence[npt.NDArray[Any]]],
    tolerance: float,
) -> tuple[float, list[str]]:
    """The largest difference of an output relative to its range, and what is wrong."""
    worst, problems = 0.0, []
    # A reference with too few outputs is a problem of its own.
    by_output = itertools.zip_longest(*reference_outputs)
    ranges = [_range([output for output in outputs if output is not None]) for outputs in by_output]
    for number, (data, references) in enumerate(zip(inputs, reference_outputs, strict=True)):
        results = compiled(data)
        outputs = [np.asarray(results[port]) for port in compiled.outputs]
        if len(outputs) != len(references):
            problems.append(f"input {number}: found {len(outputs)} outputs, expected {len(references)}")
            continue
        for index, (output, reference) in enumerate(zip(outputs, references, strict=True)):
            if output.shape != reference.shape:
                found = f"found shape {output.shape}, expected {reference.shape}"
                problems.append(f"input {number}, output {index}: {found}")
                continue
            largest, count = _difference(output, reference)
            if not count:
                continue
            relative = largest / ranges[index] if ranges[index] else math.inf
            worst = max(worst, relative)
            if relative > tolerance:
                problems.append(
                    f"input {number}, output {index}: {count} of {output.size} values differ, by up to {largest:.3g}, "
                    f"{relative:.1g} of the output's range"
                )
    return worst, problems


def _range(outputs: Sequence[npt.NDArray[Any]]) -> float:
    """How far the finite values of one output lie apart over all inputs; if they are all equal, how large they are."""
    values = np.concatenate([np.ravel(output).astype(np.float64) for output in outputs])
    finite = values[np.isfinite(values)]
    if not finite.size:
        return 0.0
    return float(np.ptp(finite) or np.abs(finite).max())


def _difference(output: npt.NDArray[Any], reference: npt.NDArray[Any]) -> tuple[float, int]:
    """The largest difference and the number of values that differ; infinite where one of two is not a finite number."""
    found, expected = output.astype(np.float64), reference.astype(np.float64)
    differs = (found != expected) & ~(np.isnan(found) & np.isnan(expected))
    if not differs.any():
        return 0.0, 0
    distances = np.abs(found[differs] - expected[differs])
    return float(np.nan_to_num(distances, nan=np.inf).max()), int(differs.sum())
