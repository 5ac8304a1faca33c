"""The plots of a report as plain data: what Plotly draws, what a screen reader reads, and the same as a table.

Colours are names such as `$bits-4`, which the page replaces by those of the light or dark palette.
"""

from openvino_eval.report.figures.base import Choice, Figure, Table, bits_text, figures
from openvino_eval.report.figures.clipping import rules_figure, weights_figure
from openvino_eval.report.figures.curves import curves_figure, run_curves_figure
from openvino_eval.report.figures.layers import layers_figure
from openvino_eval.report.figures.times import times_figure
from openvino_eval.report.figures.tradeoff import pareto_figure

__all__ = [
    "Choice",
    "Figure",
    "Table",
    "bits_text",
    "curves_figure",
    "figures",
    "layers_figure",
    "pareto_figure",
    "rules_figure",
    "run_curves_figure",
    "times_figure",
    "weights_figure",
]
