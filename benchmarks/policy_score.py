"""How long scoring a policy takes: the model is assembled, compiled, run on the search images and compared."""

from __future__ import annotations

import argparse
import dataclasses
import statistics
import sys
import time
from collections.abc import Sequence

import numpy as np
from rich.console import Console
from rich.table import Table

from nncf_mcq.config.catalog import find_config
from nncf_mcq.errors import NncfMcqError
from nncf_mcq.job import Job, parse_overrides
from nncf_mcq.pipeline.preparation import Preparation
from nncf_mcq.utils.console_progress import ConsoleProgress
from nncf_mcq.utils.progress import Stages
from openvino_eval.machine import LoadMeter


def main(arguments: Sequence[str] | None = None) -> None:
    """Parses the command line, scores random policies on several numbers of images and prints."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.policy_score",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("config", help="a JSON file, or the name of a recipe")
    parser.add_argument("--images", type=int, nargs="+", default=[16, 64, 128], metavar="N", help="search images")
    parser.add_argument("--policies", type=int, default=9, metavar="N", help="for each number of images")
    parser.add_argument(
        "--set", action="append", default=[], metavar="PATH=VALUE", help="replace a value of the config"
    )
    parsed = parser.parse_args(arguments)
    if min([*parsed.images, parsed.policies]) < 1:
        parser.error("--images, --policies: allowed: 1 or more")
    try:
        # How well weights are rounded makes no difference here.
        overrides = {"compression.correction.rounding": "nearest"} | parse_overrides(parsed.set)
        job = Job.read(find_config(parsed.config), overrides)
        with ConsoleProgress() as progress:
            preparation = job.prepare(Stages(progress))
    except NncfMcqError as error:
        parser.exit(2, f"error: {error}\n")
    meter = LoadMeter()
    seconds = measure(preparation, parsed.images, parsed.policies)
    load = meter.read()
    table = Table("images", "seconds", "policies/s")
    for count, values in seconds.items():
        middle = statistics.median(values)
        table.add_row(str(count), f"{middle:.3f}", f"{1 / middle:.2f}")
    Console(width=None if sys.stdout.isatty() else 100).print(table)
    print(
        f"median of {parsed.policies} policies, {job.config.runtime.threads} threads; "
        f"other programs took {100 * load.others:.0f} % of the processor, load {load.load:.1f}"
    )


def measure(preparation: Preparation, counts: Sequence[int], policies: int, seed: int = 0) -> dict[int, list[float]]:
    """Scores random policies on each number of images, interleaved, with the evaluator of a search.

    In a network of few layers one may come twice, and is then not run again.

    Args:
        preparation: Of the job.
        counts: Numbers of search images; repeated where the job has fewer.
        policies: For each of them.
        seed: Of the policies.

    Returns:
        Number of images to the seconds of each policy.
    """
    tasks = {}
    for count in dict.fromkeys(counts):
        folds = []
        for fold, part in zip(preparation.folds, np.array_split(np.arange(count), len(preparation.folds)), strict=True):
            if not len(part):
                continue
            which = part % len(fold.images)
            reference = tuple(output[which] for output in fold.reference)
            folds.append(dataclasses.replace(fold, images=fold.images[which], reference=reference))
        tasks[count] = dataclasses.replace(preparation, folds=tuple(folds)).task()
    random = np.random.default_rng(seed)
    seconds: dict[int, list[float]] = {count: [] for count in tasks}
    # One more than asked for: the first one finds nothing in the caches.
    for turn in range(policies + 1):
        widths, groups = preparation.folds[0].table.bits, preparation.calibrated.quantizable.groups
        bits = {group: int(random.choice(widths)) for group in groups}
        for count, task in tasks.items():
            policy = task.policy(bits)
            start = time.perf_counter()
            task.evaluator.score(policy)
            if turn:
                seconds[count].append(time.perf_counter() - start)
    return seconds


if __name__ == "__main__":
    main()
