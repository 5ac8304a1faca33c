"""Several models side by side: the numbers a user chooses by."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import openvino as ov
from pydantic import BaseModel, ConfigDict, ValidationError

from nncf_mcq.metrics import is_classifier
from nncf_mcq.model import processor_name
from openvino_eval.accuracy import compare_outputs, predict, score
from openvino_eval.errors import EvaluationError
from openvino_eval.latency import measure_latency
from openvino_eval.layers import count_integer_layers, runtime_layers
from openvino_eval.runtime import DEFAULT_THREADS, Precision
from openvino_eval.samples import Samples
from openvino_eval.size import file_bytes

BF16_SUFFIX = " (bf16)"


class ComparisonRow(BaseModel):
    """One model; what was not measured is None.

    Attributes:
        name: Its name in the comparison.
        path: Its `.xml`.
        precision: What its float layers run in.
        top1: Share of right top-1 answers, 0..1.
        agreement: Share of top-1 answers equal to the first model's, 0..1.
        kl: Mean KL divergence from the first model's answers, in nats.
        bin_bytes: Bytes of the weights.
        xml_bytes: Bytes of the topology.
        median_ms: Median latency of one inference in milliseconds.
        p10_ms: 10th percentile of it.
        latency_ratio: Latency relative to the first model's, below 1 is faster.
        latency_ratio_low: Lower quartile of that over the rounds.
        latency_ratio_high: Upper quartile.
        integer_layers: Convolutions and matrix products that run on 8-bit integers.
        compute_layers: Convolutions and matrix products.
        metrics: All that was measured of its answers, by name.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    path: str
    precision: Precision
    top1: float | None = None
    agreement: float | None = None
    kl: float | None = None
    bin_bytes: int
    xml_bytes: int
    median_ms: float | None = None
    p10_ms: float | None = None
    latency_ratio: float | None = None
    latency_ratio_low: float | None = None
    latency_ratio_high: float | None = None
    integer_layers: int
    compute_layers: int
    metrics: dict[str, float] = {}


class Comparison(BaseModel):
    """Several models on the same samples, machine and settings; the first row is the reference.

    Attributes:
        rows: One a model.
        samples: Samples that accuracy was measured on, 0 if it was not.
        threads: Inference threads.
        device: The processor's name.
        openvino_version: The runtime's version.
        model: What was compared, where it has a name.
        command: That made the comparison.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    rows: tuple[ComparisonRow, ...]
    samples: int
    threads: int
    device: str
    openvino_version: str
    model: str | None = None
    command: str | None = None

    def save(self, path: Path) -> None:
        """Write it as JSON.

        Args:
            path: The file; its folder must exist.
        """
        path.write_text(self.model_dump_json(indent=2) + "\n", encoding="utf-8")

    @classmethod
    def load(cls, path: Path) -> Comparison:
        """Read what `save` wrote.

        Args:
            path: The file.

        Returns:
            The comparison.

        Raises:
            EvaluationError: The file is missing or is no comparison.
        """
        if not path.is_file():
            raise EvaluationError(f"{path}: no such file")
        try:
            return cls.model_validate_json(path.read_bytes())
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(str(part) for part in first["loc"])
            raise EvaluationError(f"{path}: not a comparison: {where + ': ' if where else ''}{first['msg']}") from error


def compare_models(
    models: Mapping[str, Path],
    samples: Samples | None = None,
    *,
    latency: bool = True,
    bf16: bool = False,
    batch_size: int | None = None,
    threads: int = DEFAULT_THREADS,
    rounds: int = 15,
    seconds: float = 0.2,
) -> Comparison:
    """Measure models on the same samples and in interleaved turns.

    Args:
        models: Name -> `.xml` of an IR; the first is the reference of agreement, KL and latency ratio.
        samples: Images with class indices; None leaves accuracy out.
        latency: Whether to measure latency.
        bf16: Whether to add a row with the first model's float layers in bf16, which is what OpenVINO would choose
            by itself on a processor that has it.
        batch_size: Images an inference when measuring accuracy; None keeps each model's own.
        threads: Inference threads.
        rounds: Turns a model when measuring latency.
        seconds: Length of a turn.

    Returns:
        One row a model, in the order of `models`; the bf16 row stands second.

    Raises:
        EvaluationError: No model, or one that cannot be read or run on the samples.
    """
    if not models:
        raise EvaluationError("no model to compare")
    entries: dict[str, tuple[Path, Precision]] = {}
    for name, path in models.items():
        entries[name] = (path, Precision.F32)
        if bf16 and len(entries) == 1:
            entries[name + BF16_SUFFIX] = (path, Precision.BF16)
    paths = {name: path for name, (path, _) in entries.items()}
    precisions = {name: precision for name, (_, precision) in entries.items()}
    # Cheap checks of every file come before minutes of inference.
    sizes = {name: file_bytes(path) for name, path in paths.items()}
    layer_counts = {
        name: count_integer_layers(runtime_layers(path, threads=threads, precision=precisions[name]))
        for name, path in paths.items()
    }
    accuracy: dict[str, dict[str, float]] = {name: {} for name in entries}
    if samples is not None:
        found = predict(paths, samples, batch_size=batch_size, threads=threads, precisions=precisions)
        reference = found.outputs[next(iter(found.outputs))]
        for name, answers in found.outputs.items():
            accuracy[name] = score(answers, found.targets, ("top1",))
            if is_classifier(reference):
                accuracy[name] |= compare_outputs(answers, reference)
    timing: dict[str, dict[str, float]] = {name: {} for name in entries}
    if latency:
        measured = measure_latency(paths, threads=threads, rounds=rounds, seconds=seconds, precision=precisions)
        for name, result in measured.items():
            timing[name] = {
                "median_ms": result.median_ms,
                "p10_ms": result.p10_ms,
                "latency_ratio": result.ratio,
                "latency_ratio_low": result.ratio_low,
                "latency_ratio_high": result.ratio_high,
            }
    rows = [
        ComparisonRow.model_validate(
            {
                "name": name,
                "path": str(paths[name]),
                "precision": precisions[name],
                "xml_bytes": sizes[name][0],
                "bin_bytes": sizes[name][1],
                "integer_layers": layer_counts[name][0],
                "compute_layers": layer_counts[name][1],
                **accuracy[name],
                **timing[name],
            }
        )
        for name in entries
    ]
    return Comparison(
        rows=tuple(rows),
        samples=0 if samples is None else len(samples),
        threads=threads,
        device=processor_name(),
        openvino_version=ov.get_version(),
    )
