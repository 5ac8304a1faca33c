"""Gain from the choice of clipping rules: errors of every layer, width and rule as a table, JSON and a chart."""

from __future__ import annotations

import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from rich.table import Table

from nncf_mcq.job import Job
from nncf_mcq.utils.files import write_text_atomically
from nncf_mcq.utils.json_values import JsonObject, JsonValue
from nncf_mcq.utils.progress import ProgressReporter, SilentProgress, Stages

JSON_FILE, CHART_FILE = "clipping.json", "clipping.svg"
_SMALLEST_ERROR = 1e-12
_MARKERS = "osD^vP*X<>"


@dataclass(frozen=True)
class ClippingRecord:
    """One layer at one width.

    Attributes:
        layer: Name.
        bits: Width.
        rule: The rule that most channels chose.
        rule_channels: Number of channels by the rule that they chose.
        error: Relative error of the layer's output.
        rule_errors: Relative error that each rule would leave if it served all channels.
        margin: Error of the best single rule over that of the choice: 1 where mixing gains nothing.
    """

    layer: str
    bits: int
    rule: str
    rule_channels: Mapping[str, int]
    error: float
    rule_errors: Mapping[str, float]
    margin: float


@dataclass(frozen=True)
class ClippingSummary:
    """Geometric means over the layers at one width.

    Attributes:
        bits: Width.
        error: Relative error of the choice.
        rule_errors: Relative error of each rule.
        rule_channels: Number of channels by the rule that they chose.
        margin: Error of the best single rule over that of the choice.
    """

    bits: int
    error: float
    rule_errors: Mapping[str, float]
    rule_channels: Mapping[str, int]
    margin: float


@dataclass(frozen=True)
class ClippingReport:
    """Errors that each clipping rule leaves in a model.

    Attributes:
        initializer: The range initializer's parameters, or a list of such with `target_scopes`.
        images: Number of calibration images.
        records: One a layer and width.
    """

    initializer: JsonValue
    images: int
    records: Sequence[ClippingRecord]

    @property
    def rules(self) -> list[str]:
        """Names of the rules that any layer tried."""
        return list(dict.fromkeys(rule for record in self.records for rule in record.rule_errors))

    def summary(self) -> list[ClippingSummary]:
        """Geometric means over the layers, one record a width.

        A layer that did not try a rule counts for it with the error of its choice: means are over the same layers.
        """
        found = []
        for bits in sorted({record.bits for record in self.records}):
            records = [record for record in self.records if record.bits == bits]
            rule_errors = {
                rule: _geometric_mean([record.rule_errors.get(rule, record.error) for record in records])
                for rule in self.rules
            }
            error = _geometric_mean([record.error for record in records])
            channels = {rule: sum(record.rule_channels.get(rule, 0) for record in records) for rule in self.rules}
            margin = min(rule_errors.values()) / error
            found.append(ClippingSummary(bits, error, rule_errors, channels, margin))
        return found

    def to_dict(self) -> JsonObject:
        """Content of clipping.json."""
        return {
            "initializer": self.initializer,
            "images": self.images,
            "summary": [asdict(row) for row in self.summary()],
            "layers": [asdict(record) for record in self.records],
        }

    def save(self, directory: Path) -> list[Path]:
        """Writes clipping.json and clipping.svg.

        Args:
            directory: Where to; made if it is missing.

        Returns:
            The paths of both files.
        """
        paths = [directory / JSON_FILE, directory / CHART_FILE]
        for path, text in zip(paths, [json.dumps(self.to_dict(), indent=2) + "\n", draw(self)], strict=True):
            write_text_atomically(path, text)
        return paths


def measure_clipping(job: Job, progress: ProgressReporter | None = None) -> ClippingReport:
    """Quantizes the weights of every layer at every width with the job's clipping rules.

    Args:
        job: Its calibration images are used, no others.
        progress: Shows progress; silent by default.
    """
    stages = Stages(progress or SilentProgress())
    compression = job.config.compression
    splits = job.load_dataset(stages)
    calibrated = job.calibrate(job.openvino_model(), splits, stages)
    # Ranges are of grids.
    table = calibrated.weight_table(compression.weights.bits, stages).on_grids()
    records = []
    for name, entries in table.entries.items():
        for bits, entry in sorted(entries.items()):
            # An initializer that is a single rule has nothing to compare.
            rule_errors = dict(entry.rule_errors) or {entry.rule: entry.choice_error}
            margin = max(min(rule_errors.values()), _SMALLEST_ERROR) / max(entry.choice_error, _SMALLEST_ERROR)
            records.append(
                ClippingRecord(name, bits, entry.rule, dict(entry.rule_counts), entry.choice_error, rule_errors, margin)
            )
    return ClippingReport(compression.initializer.model_dump()["range"], len(calibrated.calibration), records)


def clipping_table(report: ClippingReport) -> Table:
    """One row a layer and width."""
    table = _table(f"Clipping of {len({record.layer for record in report.records})} layers", report, "layer")
    for record in report.records:
        table.add_row(
            record.layer,
            str(record.bits),
            record.rule,
            f"{record.error:.3g}",
            *(
                f"{record.rule_errors[rule]:.3g} ({record.rule_channels[rule]})" if rule in record.rule_errors else ""
                for rule in report.rules
            ),
            f"{record.margin:.3f}",
        )
    return table


def summary_table(report: ClippingReport) -> Table:
    """One row a width."""
    table = _table("Geometric mean of the layers", report)
    for row in report.summary():
        table.add_row(
            str(row.bits),
            max(row.rule_channels, key=row.rule_channels.__getitem__),
            f"{row.error:.3g}",
            *(f"{row.rule_errors[rule]:.3g} ({row.rule_channels[rule]})" for rule in report.rules),
            f"{row.margin:.3f}",
        )
    table.caption = (
        "error: relative error of a layer's output; each rule: the error with this rule alone (channels that chose it; "
        "a layer that did not try it counts with its choice); margin: error of the best single rule / error of the "
        "choice"
    )
    return table


def draw(report: ClippingReport) -> str:
    """The chart as SVG: errors by width, and how much larger than the choice's those of single rules are."""
    # Loading matplotlib takes longer than most commands of the CLI.
    import matplotlib
    import matplotlib.ticker
    from matplotlib.figure import Figure

    summary = report.summary()
    bits = [row.bits for row in summary]
    with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": "nncf_mcq"}):
        figure = Figure(figsize=(11, 4.8), layout="constrained")
        errors, ratios = figure.subplots(1, 2)
        for index, rule in enumerate(report.rules):
            marker, color = _MARKERS[index % len(_MARKERS)], f"C{index % 10}"
            values = [row.rule_errors[rule] for row in summary]
            errors.plot(bits, values, label=rule, linewidth=1.2, markersize=5, marker=marker, color=color)
            shares = [value / row.error for value, row in zip(values, summary, strict=True)]
            ratios.plot(bits, shares, label=rule, marker=marker, color=color)
        chosen = "as chosen"
        if isinstance(report.initializer, Mapping) and len(report.rules) > 1:
            chosen = str(report.initializer["type"])
        errors.plot(bits, [row.error for row in summary], "k--", linewidth=2, label=chosen)
        ratios.axhline(1, color="black", linestyle="--", linewidth=2)
        errors.set(
            yscale="log", ylabel="relative output error (geometric mean of the layers)", title="Error by bit-width"
        )
        ratios.set(yscale="log", ylabel=f"error / error of {chosen}", title="Single rules against the choice")
        ratios.yaxis.set_major_formatter(matplotlib.ticker.FormatStrFormatter("%.2f"))
        ratios.yaxis.set_minor_formatter(matplotlib.ticker.FormatStrFormatter("%.2f"))
        for axes in (errors, ratios):
            axes.set(xlabel="weight bits", xticks=bits)
            axes.grid(which="both", alpha=0.3)
        handles, labels = errors.get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside lower center", ncols=min(len(labels), 6), frameon=False)
        stream = io.StringIO()
        figure.savefig(stream, format="svg", metadata={"Date": None})
    return stream.getvalue()


def _table(title: str, report: ClippingReport, *first: str) -> Table:
    table = Table(title=title, title_justify="left", caption_justify="left")
    for heading in first:
        table.add_column(heading, overflow="fold")
    table.add_column("bits", justify="right", no_wrap=True)
    table.add_column("most", no_wrap=True)
    for heading in ("error", *report.rules, "margin"):
        table.add_column(heading, justify="right")
    return table


def _geometric_mean(values: Sequence[float]) -> float:
    return float(np.exp(np.log(np.maximum(values, _SMALLEST_ERROR)).mean()))
