"""What equalization gains on test images: models of one bit-width with and without it, for several draws of images."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

import numpy as np
from rich.console import Console
from rich.table import Table

from nncf_mcq.config.catalog import find_config
from nncf_mcq.config.overrides import parse_overrides
from nncf_mcq.data.chunks import iterate_samples, stack_inputs
from nncf_mcq.errors import NncfMcqError
from nncf_mcq.job import Job
from nncf_mcq.metrics.scores import get_score, image_values
from nncf_mcq.model.runner import ModelRunner
from nncf_mcq.policy import Policy
from nncf_mcq.utils.console_progress import ConsoleProgress
from nncf_mcq.utils.progress import Stages

SCORES = ("softened_kl", "kl")


def main(arguments: Sequence[str] | None = None) -> None:
    """Parses the command line, measures and prints."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.equalization", description=__doc__)
    parser.add_argument("config", help="a JSON file, or the name of a recipe of a classifier")
    parser.add_argument("--bits", type=int, nargs="+", default=[3, 4], metavar="B", help="bit-widths of all layers")
    parser.add_argument("--draws", type=int, default=3, metavar="N", help="seeds of the split of the images")
    parser.add_argument(
        "--section", default="dataset", help="data set whose split is drawn: dataset, or calibration where it has one"
    )
    parser.add_argument(
        "--set", action="append", default=[], metavar="PATH=VALUE", help="replace a value of the config"
    )
    parsed = parser.parse_args(arguments)
    console = Console(width=None if sys.stdout.isatty() else 110)
    table = Table("bits", "equalization", *SCORES, *(f"change of {name}" for name in SCORES), "top-1 agreement %")
    try:
        for bits in parsed.bits:
            without, equalized = (measure(parsed, bits, state) for state in (False, True))
            for name, found in (("no", without), ("yes", equalized)):
                changes = (found - without)[: len(SCORES)].mean(axis=1)
                errors = changes.std(axis=1, ddof=1) / np.sqrt(changes.shape[1])
                table.add_row(
                    str(bits),
                    name,
                    *(f"{value:.4f}" for value in found[: len(SCORES)].mean(axis=(1, 2))),
                    *(
                        "" if found is without else f"{change:+.4f} ± {error:.4f}"
                        for change, error in zip(changes.mean(axis=1), errors, strict=True)
                    ),
                    f"{100 * found[len(SCORES)].mean():.1f}",
                )
    except (NncfMcqError, ValueError) as error:
        parser.exit(2, f"error: {error}\n")
    console.print(table)


def measure(parsed: argparse.Namespace, bits: int, equalization: bool) -> np.ndarray:
    """(scores and agreement, draws, images) on the test images, without the sequential pass."""
    draws = []
    for seed in range(parsed.draws):
        changes = [
            f"{parsed.section}.split.seed={seed}",
            f"compression.weights.equalization={str(equalization).lower()}",
            f'compression.initializer.precision={{"type": "uniform", "bits": {bits}}}',
        ]
        job = Job.read(find_config(parsed.config), parse_overrides([*parsed.set, *changes]))
        threads, batch_size = job.config.runtime.threads, job.config.runtime.batch_size
        with ConsoleProgress() as progress:
            stages = Stages(progress)
            model, splits = job.openvino_model(), job.load_dataset(stages)
            calibrated = job.calibrate(model, splits, stages)
            table = calibrated.weight_table([bits], stages)
        quantizable = calibrated.quantizable
        policy = Policy({layer.name: bits for layer in quantizable.layers}, calibrated.activation_bits)
        images = stack_inputs([sample for sample, _ in iterate_samples(splits.report)])
        expected, found = (
            ModelRunner.compile(item, threads, batch_size=batch_size)(images)[0]
            for item in (model, calibrated.build(policy, table, packed=False))
        )
        agreement = found.argmax(axis=1) == expected.argmax(axis=1)
        draws.append(np.stack([*(image_values(get_score(name), found, expected) for name in SCORES), agreement]))
    return np.stack(draws, axis=1)


if __name__ == "__main__":
    main()
