"""Where the loss at a low bit-width comes from: each layer alone, each kind of layer, and all layers together."""

from __future__ import annotations

import argparse
import io
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.table import Table

from benchmarks.command import add_config, errors_as_messages, read_job, show
from nncf_mcq.data.chunks import iterate_samples, stack_inputs
from nncf_mcq.job import Job
from nncf_mcq.metrics.output_scores import choose_scores
from nncf_mcq.model.layers import QuantizableLayer
from nncf_mcq.model.outputs import describe_outputs
from nncf_mcq.model.runner import ModelRunner
from nncf_mcq.policy import INT8_BITS, Policy
from nncf_mcq.utils.console_progress import ConsoleProgress
from nncf_mcq.utils.files import write_bytes_atomically
from nncf_mcq.utils.progress import Stages


@dataclass(frozen=True)
class LayerLoss:
    """What one layer costs.

    Attributes:
        name: Of the layer.
        kind: What it computes.
        shape: (groups, rows, columns) of its weights.
        loss: Score with this layer at the low bit-width and all others at 8 bits, less that of all at 8 bits.
    """

    name: str
    kind: str
    shape: tuple[int, int, int]
    loss: float


@dataclass(frozen=True)
class Losses:
    """What was measured.

    Attributes:
        bits: The low bit-width.
        images: Number of test images.
        base: Score of all layers at 8 bits.
        together: Score of all layers at the low bit-width, less `base`.
        layers: Each layer, in the order of the network.
        kinds: Kind of layer to the score of all layers of that kind at the low bit-width, less `base`.
    """

    bits: int
    images: int
    base: float
    together: float
    layers: tuple[LayerLoss, ...]
    kinds: Mapping[str, float]

    @property
    def sum(self) -> float:
        """Sum over the layers: `together` if their errors neither add to nor take from each other's."""
        return sum(layer.loss for layer in self.layers)


def main(arguments: Sequence[str] | None = None) -> None:
    """Parses the command line, measures and prints."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.layer_losses", description=__doc__)
    add_config(parser)
    parser.add_argument("--bits", type=int, default=4, choices=range(1, INT8_BITS), help="the low bit-width")
    parser.add_argument("--images", type=int, metavar="N", help="the first N test images; default: all")
    parser.add_argument("--rows", type=int, default=10, metavar="N", help="layers that are listed")
    parser.add_argument("--chart", type=Path, metavar="FILE.svg", help="draw all layers")
    parsed = parser.parse_args(arguments)
    if parsed.images is not None and parsed.images < 1:
        parser.error("--images: allowed: 1 or more")
    with errors_as_messages(parser):
        job = read_job(parsed)
        with ConsoleProgress() as progress:
            losses = measure(job, parsed.bits, parsed.images, Stages(progress))
        if parsed.chart is not None:
            write_bytes_atomically(parsed.chart, draw(losses))
    show(*tables(losses, parsed.rows))


def measure(job: Job, bits: int, images: int | None, stages: Stages) -> Losses:
    """Scores the network on the test images with each layer alone, each kind and all layers at a low bit-width.

    Args:
        job: Its search and budget are not used.
        bits: The low bit-width.
        images: Number of test images; None for all.
        stages: Reports the progress.
    """
    splits, model, runtime = job.load_dataset(stages), job.openvino_model(), job.config.runtime
    samples = [sample for sample, _ in iterate_samples(splits.report)][:images]
    test = stack_inputs(samples)
    calibrated = job.calibrate(model, splits, stages)
    quantizable = calibrated.quantizable
    table = calibrated.weight_table([bits, INT8_BITS], stages)
    reference = ModelRunner.compile(model, runtime.threads)(test)
    score = choose_scores(describe_outputs(model), reference, job.score())

    def lowered(names: Collection[str]) -> float:
        weights = {layer.name: bits if layer.name in names else INT8_BITS for layer in quantizable.layers}
        quantized = calibrated.build(Policy(weights, calibrated.activation_bits), table, packed=False)
        advance()
        return score(ModelRunner.compile(quantized, runtime.threads)(test), reference)

    kinds: dict[str, list[str]] = {}
    for layer in sorted(quantizable.layers, key=lambda layer: layer.kind):
        kinds.setdefault(layer.kind, []).append(layer.name)
    groups = list(quantizable.groups.values())
    with stages.stage("layers alone", len(groups) + len(kinds) + 2) as advance:
        base = lowered(())
        together = lowered([layer.name for layer in quantizable.layers]) - base
        found = [_layer_loss(members[0], lowered([member.name for member in members]) - base) for members in groups]
        by_kind = {kind: lowered(names) - base for kind, names in kinds.items()}
    return Losses(bits, len(samples), base, together, tuple(found), by_kind)


def _layer_loss(layer: QuantizableLayer, loss: float) -> LayerLoss:
    return LayerLoss(layer.name, layer.kind, (layer.groups, layer.rows, layer.columns), loss)


def tables(losses: Losses, rows: int) -> list[Table]:
    """The tables that are printed.

    Args:
        losses: What was measured.
        rows: Layers that are listed, those that cost most first.
    """
    title = f"score on {losses.images} test images, {losses.bits} bits against 8 ({losses.base:.4g})"
    whole = Table("layers", "loss", title=title)
    whole.add_row("all together", f"{losses.together:.4f}")
    whole.add_row("sum of each alone", f"{losses.sum:.4f}")
    for kind, loss in losses.kinds.items():
        whole.add_row(f"{kind}, together", f"{loss:.4f}")
    single = Table()
    single.add_column("layer", overflow="fold")
    for column in ("kind", "groups x rows x columns", "loss alone", "share of the sum"):
        single.add_column(column)
    total = losses.sum or 1.0
    for layer in sorted(losses.layers, key=lambda item: -item.loss)[:rows]:
        shape = " x ".join(map(str, layer.shape))
        single.add_row(layer.name, layer.kind, shape, f"{layer.loss:.4f}", f"{layer.loss / total:.1%}")
    return [whole, single]


def draw(losses: Losses) -> bytes:
    """A bar for each layer, in the order of the network, as SVG."""
    from matplotlib.figure import Figure

    colours = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00")  # Okabe and Ito's
    figure = Figure(figsize=(9, 3.5), layout="constrained")
    axes = figure.add_subplot()
    for kind, colour in zip(losses.kinds, colours * len(losses.kinds), strict=False):
        bars = [(number, layer.loss) for number, layer in enumerate(losses.layers) if layer.kind == kind]
        axes.bar([number for number, _ in bars], [loss for _, loss in bars], color=colour, label=kind)
    axes.set_xlabel("layer, in the order of the network")
    axes.set_ylabel(f"loss, this layer alone at {losses.bits} bits")
    axes.set_title(f"all together {losses.together:.3f}, sum of each alone {losses.sum:.3f}")
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False)
    stream = io.BytesIO()
    figure.savefig(stream, format="svg", metadata={"Date": None})
    return stream.getvalue()


if __name__ == "__main__":
    main()
