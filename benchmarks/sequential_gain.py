"""What the sequential pass is worth: divergence and agreement on test images with and without it, for several draws."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from rich.table import Table

from benchmarks.command import errors_as_messages, show
from benchmarks.draws import CalibratedDraw, add_options, read_draw
from nncf_mcq.job import Job
from nncf_mcq.utils.console_progress import ConsoleProgress
from nncf_mcq.utils.progress import Stages

DIVERGENCES = ("kl", "softened_kl")
"""The scores that are measured, beside agreement."""

PERCENT = np.array([1, 1, 100])
"""Agreement is told in percent."""


@dataclass(frozen=True)
class Draw:
    """One draw of calibration images at one bit-width.

    Attributes:
        seed: Of the draw.
        bits: Of all layers.
        table: KL divergence, softened divergence, and agreement in percent on the test images, with the weight table.
        passed: The same after the pass.
    """

    seed: int
    bits: int
    table: NDArray[np.float64]
    passed: NDArray[np.float64]


def main(arguments: Sequence[str] | None = None) -> None:
    """Parses the command line, measures and prints."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.sequential_gain", description=__doc__)
    add_options(parser, bits=[4])
    parser.add_argument("--images", type=int, default=500, metavar="N", help="test images at most")
    parsed = parser.parse_args(arguments)
    if parsed.draws < 1 or parsed.images < 1:
        parser.error("--draws and --images: allowed: 1 or more")
    found: list[Draw] = []
    with errors_as_messages(parser, ValueError), ConsoleProgress() as progress:
        for seed in range(parsed.draws):
            found += measure(read_draw(parsed, seed), seed, parsed.bits, parsed.images, Stages(progress))
    show(to_table(found))


def measure(job: Job, seed: int, widths: Sequence[int], images: int, stages: Stages) -> list[Draw]:
    """The scores of uniform policies before and after the pass, on the images of the report.

    Args:
        job: Of a classifier.
        seed: Its draw.
        widths: Bit-widths.
        images: Test images at most.
        stages: Reports the progress.
    """
    drawn = CalibratedDraw.prepare(job, stages, images)
    table = drawn.calibrated.weight_table(widths, stages)
    draws = []
    for bits in widths:
        policy = drawn.uniform_policy(bits)
        passed = drawn.calibrated.requantize_sequentially(policy, table, stages)
        means = [drawn.image_scores(DIVERGENCES, policy, weights).mean(axis=1) for weights in (table, passed)]
        draws.append(Draw(seed, bits, *(PERCENT * mean for mean in means)))
    return draws


def to_table(draws: Sequence[Draw]) -> Table:
    """A row for each draw, and for each bit-width the mean with the standard error of the paired differences."""
    table = Table("bits", "seed", "KL", "softened KL", "agreement %")
    for bits in sorted({draw.bits for draw in draws}, reverse=True):
        group = [draw for draw in draws if draw.bits == bits]
        for draw in group:
            table.add_row(str(bits), str(draw.seed), *map(_change, draw.table, draw.passed))
        if len(group) > 1:
            before, after = (np.array([getattr(draw, name) for draw in group]) for name in ("table", "passed"))
            error = (after - before).std(axis=0, ddof=1) / np.sqrt(len(group))
            means = map(_change, before.mean(axis=0), after.mean(axis=0))
            shown = [f"{mean} ± {value:.2g}" for mean, value in zip(means, error, strict=True)]
            table.add_row(str(bits), "mean", *shown, end_section=True)
    return table


def _change(before: float, after: float) -> str:
    return f"{before:.4g} -> {after:.4g}"


if __name__ == "__main__":
    main()
