"""What equalization gains on test images: models of one bit-width with and without it, for several draws of images."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

import numpy as np
from rich.table import Table

from benchmarks.command import errors_as_messages, show
from benchmarks.draws import CalibratedDraw, add_options, read_draw
from nncf_mcq.utils.console_progress import ConsoleProgress
from nncf_mcq.utils.progress import Stages

SCORES = ("softened_kl", "kl")


def main(arguments: Sequence[str] | None = None) -> None:
    """Parses the command line, measures and prints."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.equalization", description=__doc__)
    add_options(parser, bits=[3, 4])
    parsed = parser.parse_args(arguments)
    table = Table("bits", "equalization", *SCORES, *(f"change of {name}" for name in SCORES), "top-1 agreement %")
    with errors_as_messages(parser, ValueError):
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
    show(table)


def measure(parsed: argparse.Namespace, bits: int, equalization: bool) -> np.ndarray:
    """(scores and agreement, draws, images) on the test images, without the sequential pass."""
    draws = []
    for seed in range(parsed.draws):
        job = read_draw(
            parsed,
            seed,
            f"compression.weights.equalization={str(equalization).lower()}",
            f'compression.initializer.precision={{"type": "uniform", "bits": {bits}}}',
        )
        with ConsoleProgress() as progress:
            stages = Stages(progress)
            drawn = CalibratedDraw.prepare(job, stages)
            table = drawn.calibrated.weight_table([bits], stages)
        draws.append(drawn.image_scores(SCORES, drawn.uniform_policy(bits), table))
    return np.stack(draws, axis=1)


if __name__ == "__main__":
    main()
