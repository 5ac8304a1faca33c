"""Clipping rules, and weights before and after."""

from __future__ import annotations

from nncf_mcq.config import LayerHistogram, LayerResult
from openvino_eval.formats import format_number, format_percent
from openvino_eval.report.figures.base import Choice, Figure, Table, Trace, bits_text
from openvino_eval.report.palette import series
from openvino_eval.run_result import Run


def rules_figure(run: Run) -> Figure | None:
    """Share of channels by the clipping rule that they chose; None where there was one rule for all."""
    layers = run.result.layers
    channels = [layer.rule_channels for layer in layers]
    rules = list(dict.fromkeys(rule for counts in channels for rule in counts))
    if len(rules) < 2:
        return None
    numbers = list(range(1, len(layers) + 1))
    totals = [max(sum(counts.values()), 1) for counts in channels]
    traces = [
        {
            "type": "bar",
            "name": rule,
            "x": numbers,
            "y": [counts.get(rule, 0) / total for counts, total in zip(channels, totals, strict=True)],
            "marker": {"color": series(index)},
            "customdata": [
                [layer.name, counts.get(rule, 0), total]
                for layer, counts, total in zip(layers, channels, totals, strict=True)
            ],
            "hovertemplate": f"%{{x}}. %{{customdata[0]}}<br>{rule}: %{{customdata[1]}} of %{{customdata[2]}} channels"
            "<extra></extra>",
        }
        for index, rule in enumerate(rules)
    ]
    whole = {rule: sum(counts.get(rule, 0) for counts in channels) for rule in rules}
    remark = " Trellis-coded layers have scales, and no range." if "trellis" in whole else ""
    shares = ", ".join(f"{rule} {100 * count / max(sum(whole.values()), 1):.0f} %" for rule, count in whole.items())
    return Figure(
        name="rules",
        title="Clipping rule of every layer",
        description=f"Share of each layer's channels by the rule with the smallest error. Overall: {shares}.{remark}",
        data=traces,
        layout={
            "barmode": "stack",
            "bargap": 0.18,
            "legend": {"traceorder": "normal"},
            "xaxis": {"title": {"text": "layer, in the order of the model"}, "range": [0.4, len(layers) + 0.6]},
            "yaxis": {"title": {"text": "channels"}, "tickformat": ".0%", "range": [0, 1]},
        },
        height=280,
        table=Table(
            ["Layer", *rules],
            [
                [f"{number}. {layer.name}", *(str(counts.get(rule, 0)) for rule in rules)]
                for number, layer, counts in zip(numbers, layers, channels, strict=True)
            ],
        ),
    )


def weights_figure(run: Run) -> Figure | None:
    """Weights of a layer before and after, with the threshold; None where there are no histograms."""
    if run.histograms is None:
        return None
    reach = run.histograms.reach
    found = run.histograms.layers
    kept = [layer for layer in run.result.layers if layer.name in found]
    numbers = {layer.name: number for number, layer in enumerate(run.result.layers, start=1)}
    if not kept:
        return None
    choices = [
        Choice(
            f"{numbers[layer.name]}. {layer.name}",
            _weights_caption(layer, found[layer.name]),
            _weight_traces(found[layer.name], reach),
        )
        for layer in kept
    ]
    rows = [
        [
            f"{numbers[layer.name]}. {layer.name}",
            bits_text(layer.bits),
            format_percent(found[layer.name].clipped),
            *(format_number(value) for value in found[layer.name].thresholds),
            format_number(found[layer.name].largest),
        ]
        for layer in kept
    ]
    # A layer of few bits has levels to look at; of those, the largest.
    sizes = [(len(found[layer.name].level_counts), -sum(found[layer.name].float_counts)) for layer in kept]
    first = sizes.index(min(sizes))
    edge = {"type": "line", "yref": "paper", "y0": 0, "y1": 1, "line": {"color": "$warn", "width": 1.5, "dash": "dash"}}
    return Figure(
        name="weights",
        title="Weights before and after",
        description="Density of a layer's weights relative to the clipping thresholds of their channels: float weights "
        "as an area, quantization levels as bars, thresholds as dashed lines at -1 and 1. Weights beyond are clipped.",
        data=choices[first].data,
        layout={
            "barmode": "overlay",
            "shapes": [{**edge, "x0": end, "x1": end} for end in (-1, 1)],
            "xaxis": {"title": {"text": "weight / threshold of its channel"}, "range": [-reach, reach]},
            "yaxis": {"title": {"text": "density"}, "rangemode": "tozero"},
        },
        height=320,
        table=Table(
            ["Layer", "Bits", "Clipped", "Threshold, smallest", "median", "largest", "Largest weight"], rows, 2
        ),
        choices=choices,
        first=first,
    )


def _weights_caption(layer: LayerResult, histogram: LayerHistogram) -> str:
    rule = f", rule {layer.rule}" if layer.rule else ""
    return (
        f"{bits_text(layer.bits)}{rule}: {format_percent(histogram.clipped)} of the weights clipped; thresholds "
        f"{format_number(histogram.thresholds[0])} to {format_number(histogram.thresholds[2])}, largest weight "
        f"{format_number(histogram.largest)}"
    )


def _weight_traces(histogram: LayerHistogram, reach: float) -> list[Trace]:
    total = max(sum(histogram.float_counts), 1)
    bins = len(histogram.float_counts)
    width, spacing = 2 * reach / bins, 2 / max(len(histogram.level_counts) - 1, 1)
    # Plain numbers of few digits: there are thousands.
    return [
        {
            "type": "bar",
            "name": "after: levels",
            "x": [round(-1 + spacing * index, 4) for index in range(len(histogram.level_counts))],
            "y": [round(count / total / spacing, 4) for count in histogram.level_counts],
            "width": round(spacing * 0.82, 5),
            "marker": {"color": "$accent", "opacity": 0.75},
            "hovertemplate": "level at %{x:.3f}: density %{y:.3f}<extra></extra>",
        },
        {
            "type": "scatter",
            "mode": "lines",
            "name": "before: float",
            "x": [round(-reach + width * (index + 0.5), 4) for index in range(bins)],
            "y": [round(count / total / width, 4) for count in histogram.float_counts],
            "line": {"color": "$series-1", "width": 1.8, "shape": "hvh"},
            "fill": "tozeroy",
            "fillcolor": "$series-1-soft",
            "hovertemplate": "float at %{x:.2f}: density %{y:.3f}<extra></extra>",
        },
    ]
