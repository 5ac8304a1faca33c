"""A result for the terminal: a compact table, and how it came about."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.table import Table

from nncf_mcq.config.device import PLAIN_DEVICES, device_remark
from nncf_mcq.config.goal import AT_LEAST, DROP
from nncf_mcq.config.output_files import MODEL_FILE, RESULT_FILE, LayerResult, ModelFile
from nncf_mcq.config.quality_report import QualityReport, WorstImage
from nncf_mcq.config.search_report import GoalReport, LatencyReport, TuningReport
from nncf_mcq.metrics.names import COSTS, SHARES, TO_FLOAT, is_to_float, metric_figure, metric_name
from nncf_mcq.model.int8 import METRICS_KEY as _INT8
from nncf_mcq.result import QuantizationResult

_ORIGINS = {"resumed": "before it was resumed", "workers": "by workers"}
_FILES = ("bin_bytes", "xml_bytes")
_NEARLY = 1.1
_LISTED = 5
"""Names in a line, and lines of a list."""


def result_table(result: QuantizationResult) -> Table:
    """Metrics and sizes of the float model, of NNCF INT8 where it was measured, and of the saved model.

    Args:
        result: After `save`.
    """
    columns = {"float": "float", _INT8: "NNCF INT8", "quantized": "quantized"}
    if not result.metrics.get(_INT8):
        del columns[_INT8]
    models = [result.metrics[kind] for kind in columns]
    quantized, others = models[-1], models[:-1]
    table = Table(box=SIMPLE_HEAD, padding=(0, 1), show_edge=False)
    table.add_column("", no_wrap=True)
    for heading in columns.values():
        table.add_column(heading, justify="right", no_wrap=True)
    # The only one that may take a second line: figures that are cut in a narrow terminal say nothing.
    table.add_column("")
    for name in dict.fromkeys(name for found in (models[0], quantized, *others) for name in found):
        if name not in COSTS:
            values = [metric_figure(name, found[name]) if name in found else "" for found in models]
            table.add_row("KL divergence" if name == "kl" else metric_name(name), *values, _difference(name, result))
    # Where there was no room for the float model, its size is not known.
    table.add_row("weights, .bin", *_sizes(models, ["bin_bytes"]), _smaller(others, quantized, ["bin_bytes"]))
    table.add_row("graph, .xml", *_sizes(models, ["xml_bytes"]), "")
    table.add_row("both files", *_sizes(models, _FILES), _smaller(others, quantized, _FILES))
    references = [result.references.get(kind, ModelFile()) for kind in columns][:-1]
    bits = [_bits(found.average_weight_bits) for found in references]
    table.add_row("bits per weight", *bits, f"{quantized['average_weight_bits']:.2f}", _widths(result))
    # An embedding is looked up, not computed.
    layers = [layer for layer in result.layers if layer.kind != "embedding"]
    integer = sum(layer.is_integer for layer in layers)
    device = result.config.target_device
    if device in PLAIN_DEVICES:
        table.add_row("written for", *[""] * len(others), device, "outputs verified on the CPU only")
    else:
        known = ["" if found.layers is None else f"{found.integer_layers} of {found.layers}" for found in references]
        table.add_row("layers on int8 kernels", *known, f"{integer} of {len(layers)}", "verified in the saved file")
    return table


def result_lines(result: QuantizationResult, output: Path) -> Iterator[str]:
    """How the policy was found, how long it took, and where everything is.

    Args:
        result: After `save`.
        output: The folder.
    """
    yield from _float_lines(result)
    yield from _layer_lines(result.layers)
    yield from _quality_lines(result.quality)
    remark = device_remark(result.config.target_device)
    if remark is not None:
        yield f"note: {remark}"
    search = result.search
    if search.dataset.remark:
        yield f"note: {search.dataset.remark}"
    origins = search.evaluations_of
    others = ", ".join(f"{origins[key]} {what}" for key, what in _ORIGINS.items() if origins[key])
    if search.evaluations:
        policies = "policy" if search.evaluations == 1 else "policies"
        yield (
            f"search: {search.method}, {search.evaluations} {policies} scored{f' ({others})' if others else ''} "
            f"on {search.images} images"
        )
        yield from _gain_lines(search.details)
        yield from _widest_lines(search.score, search.details)
    if search.goal is not None:
        yield _goal_line(search.goal)
    final = search.final_weights
    if final.sequential_score is not None:
        kept = "kept" if final.kept == "sequential" else "not kept"
        scores = f"distance from the float model {final.table_score:.4g} -> {final.sequential_score:.4g}"
        yield f"sequential pass: {scores} on held-out images, {kept}"
    if search.tuning is not None:
        yield from _tuning_lines(search.tuning)
    if search.latency is not None:
        yield from _latency_lines(search.latency)
    if result.verification is not None:
        yield from (f"warning: {sentence}" for sentence in result.verification.warnings)
    seconds = sorted(result.seconds.items(), key=lambda item: -item[1])
    slowest = ", ".join(f"{stage} {value:.1f}" for stage, value in seconds[:3])
    yield f"time: {sum(result.seconds.values()):.1f} s ({slowest})"
    if search.left_out:
        cause = "the interruption" if search.ended_by == "interrupted" else "the time limit"
        yield f"warning: left out after {cause}: {', '.join(search.left_out)}"
    if "tuning" in search.left_out and search.ended_by == "interrupted":
        yield "repeat the command with --resume to go on with the tuning"
    elif search.details.get("interrupted") and search.storage is not None:
        yield "the search was interrupted: repeat the command with --resume to continue"
    yield f"IR: {output / MODEL_FILE}"
    yield f"next: openvino-eval report {output}"


def _quality_lines(quality: QualityReport | None) -> Iterator[str]:
    """How close each output comes to the float model's, and what it was taken for."""
    if quality is None or not quality.count:
        return
    images = f"{quality.count} {quality.images} image{'s' if quality.count > 1 else ''}"
    seen = "" if quality.images == "test" else ", which the quantization has seen: of others it may be lower"
    yield f"quality: closeness to the float model on {images}{seen}"
    for output in quality.outputs[:_LISTED]:
        shown = [f"{metric_name(name)} {metric_figure(name, value)}" for name, value in output.metrics.items()]
        # The table has those of a single one.
        known = [] if len(quality.outputs) == 1 else shown or ["nothing to compare"]
        name = f"output {output.name}" if output.name.isdigit() else output.name
        kind = output.description or output.kind.replace("_", " ")
        taken = "not recognized" if output.kind == "values" else f"taken for {kind}"
        yield f"  {name}, {taken}: {'; '.join([*known, *_worst_image(output.worst)])}".removesuffix(": ")
    if len(quality.outputs) > _LISTED:
        yield f"  and {len(quality.outputs) - _LISTED} more, see {RESULT_FILE}"
    yield from (f"  note: {note}" for note in quality.notes)
    yield from (f"warning: {doubt}" for doubt in quality.doubts)


def _worst_image(worst: WorstImage | None) -> Iterator[str]:
    if worst is None:
        return
    image = f"image {worst.index}" if worst.name is None else worst.name
    yield f"worst {image}, {metric_name(worst.metric)} {metric_figure(worst.metric, worst.value)}"


def _tuning_lines(tuning: TuningReport) -> Iterator[str]:
    """What the tuning brought, or why there was none."""
    if tuning.reason is not None:
        yield f"warning: the model is not tuned: {tuning.reason}"
        return
    kept = "kept" if tuning.kept else "not kept, as it is not clearly better"
    yield (
        f"{tuning.method} on {tuning.images} images: score {tuning.before:.4g} -> {tuning.after:.4g} "
        f"({tuning.difference:+.2g} +- {tuning.standard_error:.1g}) on {tuning.held_out_images} others, {kept}"
    )


def _gain_lines(details: Mapping[str, Any]) -> Iterator[str]:
    """What a search gains over the policy that it started with, and why it ended early."""
    if "kept_warm_start" not in details or details.get("warm_start_score") is None:
        return
    gain = details["gain"]
    found = "" if gain is None else f"{gain['mean']:.3g} +- {gain['standard_error'] or math.nan:.1g} on the same images"
    if not details["kept_warm_start"]:
        yield f"  gain over the policy of the ILP: {found}"
    elif gain is None:
        yield "  no policy was better than that of the ILP, which is kept"
    else:
        yield f"  the best gained {found}, which is not clearly better: the policy of the ILP is kept"
    if details.get("ended_early"):
        yield "  ended for lack of progress (precision.patience)"
    if details.get("out_of_time"):
        yield "  ended by precision.time_limit; repeat the command with --resume and more of it to go on"


def _widest_lines(score: float | None, details: Mapping[str, Any]) -> Iterator[str]:
    """How far the policy with the largest bit-widths is from the float model, which no bits of weights improve on."""
    widest = details.get("widest_score")
    if score is None or widest is None:
        return
    line = f"  distance from the float model {score:.4g}, with the largest bit-widths everywhere {widest:.4g}"
    if score < _NEARLY * widest:
        line += ": more bits of weights gain next to nothing; ignored_scopes keeps layers in floating point"
    yield line


def _goal_line(goal: GoalReport) -> str:
    """What the policy keeps of the goal, with a warning where that is too little."""
    metric = goal.quantity.removesuffix(DROP)
    is_drop, is_least = metric != goal.quantity, goal.quantity in AT_LEAST
    name = f"{metric_name(metric)} drop" if is_drop else metric_name(goal.quantity)
    unit = " points" if is_drop and metric in SHARES else ""
    value, bound = ("no number" if number is None else f"{number:.4g}{unit}" for number in (goal.value, goal.bound))
    side = "at least" if is_least else "at most"
    limited = "without a bound" if goal.bound is None else f"{side} {bound}"
    line = f"{name} {value}, {limited} at {100 * goal.confidence:g} % confidence, on {goal.images} search images"
    if goal.kept:
        return f"goal: {line}; asked for: {side} {goal.limit:g}{unit}"
    missed = "" if goal.bound is None else f" by {abs(goal.bound - goal.limit):.3g}{unit}"
    return f"warning: the goal of {side} {goal.limit:g}{unit} is missed{missed}: {line}"


def _float_lines(result: QuantizationResult) -> Iterator[str]:
    """The weights that stay in floating point, and why."""
    if not result.float_weights:
        return
    share = sum(item.share for item in result.float_weights)
    yield f"in floating point: {_share(share)} of the weights, counted above with the bits that they are stored in"
    for item in result.float_weights[:_LISTED]:
        yield f"  {item.name} ({_kind(item.kind)}, {_share(item.share)}, {item.bits} bits): {item.reason}"
    if len(result.float_weights) > _LISTED:
        yield f"  and {len(result.float_weights) - _LISTED} more, see {RESULT_FILE}"


def _layer_lines(layers: Sequence[LayerResult]) -> Iterator[str]:
    """The layers that OpenVINO has no int8 kernel for, and those that could not have the bits of others."""
    without_kernel = [layer for layer in layers if layer.needs_float_kernel]
    for kind, cause in dict.fromkeys((layer.kind, layer.float_cause) for layer in without_kernel):
        names = [layer.name for layer in without_kernel if (layer.kind, layer.float_cause) == (kind, cause)]
        yield f"only the weights are quantized: {_names(names)} ({_kind(kind)}): {cause}"
    for layer in layers:
        if layer.allowed_bits is not None and layer.bits is not None:
            allowed = ", ".join(map(str, layer.allowed_bits))
            yield f"{layer.name} has {layer.bits} bits: of an {_kind(layer.kind)} only {allowed} are supported"


def _names(names: Sequence[str]) -> str:
    more = f" and {len(names) - _LISTED} more" if len(names) > _LISTED else ""
    return ", ".join(names[:_LISTED]) + more


def _kind(kind: str | None) -> str:
    return (kind or "").replace("_", " ")


def _share(value: float) -> str:
    return f"{100 * value:.1f} %" if value >= 0.001 else "less than 0.1 %"


def _difference(name: str, result: QuantizationResult) -> str:
    if is_to_float(name):
        return TO_FLOAT[name.partition(" ")[0]]
    before, after = (result.metrics[kind].get(name) for kind in ("float", "quantized"))
    if before is None or after is None or name not in SHARES:
        return ""
    return f"{100 * (after - before):+.2f} points"


def _bits(value: float | None) -> str:
    return "" if value is None else f"{value:.2f}".removesuffix(".00")


def _smaller(others: Sequence[Mapping[str, float]], quantized: Mapping[str, float], names: Sequence[str]) -> str:
    """How many times smaller than each other model."""
    ratios = [_bytes(found, names) / _bytes(quantized, names) for found in others if _bytes(found, names)]
    return f"{' and '.join(f'{ratio:.1f}' for ratio in ratios)} times smaller" if ratios else ""


def _sizes(models: Sequence[Mapping[str, float]], names: Sequence[str]) -> list[str]:
    return [f"{_bytes(found, names) / 1000:,.1f} kB" if _bytes(found, names) else "" for found in models]


def _bytes(model: Mapping[str, float], names: Sequence[str]) -> float:
    """Bytes of all of some files, 0 where the size of one is not known."""
    return sum(model[name] for name in names) if all(name in model for name in names) else 0.0


def _widths(result: QuantizationResult) -> str:
    bits = [layer.bits for layer in result.layers if layer.bits is not None]
    kept = f"{len(result.layers) - len(bits)} float" if len(bits) < len(result.layers) else ""
    if not bits:
        return kept
    low, high = min(bits), max(bits)
    widths = f"all {low}" if low == high else f"{low} to {high}"
    return ", ".join(part for part in (widths, kept) if part)


def _latency_lines(latency: LatencyReport) -> Iterator[str]:
    """The latency of the policy, with a warning where it is not what was asked for."""
    ratios = latency.ratio_to_int8
    measured = "not measured" if ratios["measured"] is None else f"measured {ratios['measured']:.3f}"
    yield (
        f"latency: {measured} times int8, predicted {ratios['predicted']:.3f}, limit {ratios['limit']:.3f}, "
        f"float layers in {latency.precision}"
    )
    if latency.kept is False:
        yield "warning: the measured latency exceeds the limit: set a smaller ratio_to_int8"
    if latency.kept is None:
        yield "warning: the latency table is of another machine or number of threads: measure there"
