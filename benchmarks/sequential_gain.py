"""What the sequential pass is worth: divergence and agreement on test images with and without it, for several draws."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from nncf_mcq.config.catalog import find_config
from nncf_mcq.config.overrides import parse_overrides
from nncf_mcq.data.chunks import iterate_samples, stack_inputs
from nncf_mcq.errors import NncfMcqError
from nncf_mcq.job import Job
from nncf_mcq.metrics.metrics import agreement
from nncf_mcq.metrics.scores import get_score
from nncf_mcq.model.runner import ModelRunner
from nncf_mcq.policy import Policy
from nncf_mcq.utils.console_progress import ConsoleProgress
from nncf_mcq.utils.progress import Stages
from nncf_mcq.weights.weight_table import WeightTable

DIVERGENCES = ("kl", "softened_kl")
"""The scores that are measured, beside agreement."""


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
    parser.add_argument("config", help="a JSON file, or the name of a recipe of a classifier")
    parser.add_argument("--bits", type=int, nargs="+", default=[4], metavar="B", help="bit-widths of all layers")
    parser.add_argument("--draws", type=int, default=3, metavar="N", help="of the images, with seeds from 0")
    parser.add_argument("--images", type=int, default=500, metavar="N", help="test images at most")
    parser.add_argument(
        "--set", action="append", default=[], metavar="PATH=VALUE", help="replace a value of the config"
    )
    parsed = parser.parse_args(arguments)
    if parsed.draws < 1 or parsed.images < 1:
        parser.error("--draws and --images: allowed: 1 or more")
    found: list[Draw] = []
    try:
        with ConsoleProgress() as progress:
            for seed in range(parsed.draws):
                overrides = parse_overrides([*parsed.set, f"dataset.split.seed={seed}"])
                job = Job.read(find_config(parsed.config), overrides)
                found += measure(job, seed, parsed.bits, parsed.images, Stages(progress))
    except NncfMcqError as error:
        parser.exit(2, f"error: {error}\n")
    console = Console(width=None if sys.stdout.isatty() else 110)
    console.print(to_table(found))


def measure(job: Job, seed: int, widths: Sequence[int], images: int, stages: Stages) -> list[Draw]:
    """The scores of uniform policies before and after the pass, on the images of the report.

    Args:
        job: Of a classifier.
        seed: Its draw.
        widths: Bit-widths.
        images: Test images at most.
        stages: Reports the progress.
    """
    splits, model = job.load_dataset(stages), job.openvino_model()
    test = stack_inputs([sample for sample, _ in iterate_samples(splits.report)][:images])
    calibrated = job.calibrate(model, splits, stages)
    table = calibrated.weight_table(widths, stages)
    (expected,) = ModelRunner.compile(model, calibrated.threads)(test)

    def scores(policy: Policy, weights: WeightTable) -> NDArray[np.float64]:
        (outputs,) = ModelRunner.compile(calibrated.build(policy, weights, packed=False), calibrated.threads)(test)
        divergences = [get_score(name)(outputs, expected) for name in DIVERGENCES]
        return np.array([*divergences, 100 * agreement(outputs, expected)])

    draws = []
    for bits in widths:
        policy = Policy({layer.name: bits for layer in calibrated.quantizable.layers}, calibrated.activation_bits)
        refined = calibrated.requantize_sequentially(policy, table, stages)
        draws.append(Draw(seed, bits, scores(policy, table), scores(policy, refined)))
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
