"""How long scoring a policy takes, as a search does it and with each policy's model compiled as a whole.

A search compiles segments of models, which later policies share. The first policies are therefore shown apart: they
include what is compiled for the others.
"""

from __future__ import annotations

import argparse
import dataclasses
import time
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from rich.table import Table

from benchmarks.command import add_config, errors_as_messages, read_job, show
from nncf_mcq.pipeline.preparation import Preparation
from nncf_mcq.policy import Policy
from nncf_mcq.precision_init.evaluator import Evaluator
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
    add_config(parser)
    parser.add_argument("--images", type=int, nargs="+", default=[16, 64, 128], metavar="N", help="search images")
    parser.add_argument("--policies", type=int, default=9, metavar="N", help="for each number of images")
    parser.add_argument("--first", type=int, default=40, metavar="N", help="policies before those")
    parsed = parser.parse_args(arguments)
    if min([*parsed.images, parsed.policies, parsed.first]) < 1:
        parser.error("--images, --policies, --first: allowed: 1 or more")
    with errors_as_messages(parser):
        # How well weights are rounded makes no difference here.
        job = read_job(parsed, defaults={"compression.correction.rounding": "nearest"})
        with ConsoleProgress() as progress:
            preparation = job.prepare(Stages(progress))
    meter = LoadMeter()
    found = measure(preparation, parsed.images, parsed.policies, parsed.first)
    load = meter.read()
    table = Table("images", "whole", f"first {parsed.first}", "later", "policies/s", "later/whole", "of the processor")
    for count, times in found.items():
        whole, later = times.whole.median, times.later.median
        first = np.mean(times.first.seconds, axis=0)
        table.add_row(
            str(count),
            f"{whole[0]:.3f} s",
            f"{first[0]:.3f} s",
            f"{later[0]:.3f} s",
            f"{1 / later[0]:.2f}",
            *(f"{ratio:.2f}" for ratio in later / whole),
        )
    show(table, width=100)
    print(
        f"median of {parsed.policies} policies, mean of the first ones, {job.config.runtime.threads} threads; "
        f"other programs took {100 * load.others:.0f} % of the processor, load {load.load:.1f}"
    )


@dataclass
class Seconds:
    """Of each policy: on the clock, and of the processor."""

    seconds: list[tuple[float, float]] = field(default_factory=list)

    @property
    def median(self) -> NDArray[np.float64]:
        """Of both."""
        return np.median(np.array(self.seconds), axis=0)


@dataclass
class Times:
    """Of policies on one number of images.

    Attributes:
        whole: Where each policy's model is compiled as a whole.
        first: Of the first policies of a search.
        later: Of later ones of a search, the same policies as in `whole`.
    """

    whole: Seconds = field(default_factory=Seconds)
    first: Seconds = field(default_factory=Seconds)
    later: Seconds = field(default_factory=Seconds)


def measure(
    preparation: Preparation, counts: Sequence[int], policies: int, first: int, seed: int = 0
) -> dict[int, Times]:
    """Scores random policies on each number of images, both ways interleaved, with the evaluator of a search.

    In a network of few layers a policy may come twice, and is then not run again.

    Args:
        preparation: Of the job.
        counts: Numbers of search images; repeated where the job has fewer.
        policies: For each of them, behind the first ones.
        first: The first ones.
        seed: Of the policies.

    Returns:
        Number of images to the times of each policy.

    Raises:
        AssertionError: The two ways do not give the same scores.
    """
    evaluators = {count: _evaluators(preparation, count) for count in dict.fromkeys(counts)}
    found = {count: Times() for count in evaluators}
    task, random = preparation.task(), np.random.default_rng(seed)
    widths, groups = preparation.folds[0].table.bits, preparation.calibrated.quantizable.groups
    for turn in range(first + policies):
        policy = task.policy({group: int(random.choice(widths)) for group in groups})
        for count, (search, whole) in evaluators.items():
            times = found[count]
            if turn < first:
                _score(search, policy, times.first)
                if not turn:
                    # The first one finds nothing in the caches.
                    whole.score(policy)
                continue
            ways = [(search, times.later), (whole, times.whole)]
            for evaluator, seconds in ways if turn % 2 else ways[::-1]:
                _score(evaluator, policy, seconds)
            assert search.score(policy) == whole.score(policy)
    return found


def _evaluators(preparation: Preparation, count: int) -> tuple[Evaluator, Evaluator]:
    """That of a search, and one that compiles each model as a whole."""
    folds = []
    for fold, part in zip(preparation.folds, np.array_split(np.arange(count), len(preparation.folds)), strict=True):
        if not len(part):
            continue
        which = part % len(fold.images)
        reference = tuple(output[which] for output in fold.reference)
        folds.append(dataclasses.replace(fold, images=fold.images[which], reference=reference))
    search = dataclasses.replace(preparation, folds=tuple(folds)).task().evaluator
    whole = Evaluator(
        [dataclasses.replace(fold, bit_widths={}) for fold in search.folds],
        preparation.score,
        threads=preparation.runtime.threads,
        batch_size=preparation.runtime.batch_size,
    )
    return search, whole


def _score(evaluator: Evaluator, policy: Policy, times: Seconds) -> None:
    start = np.array([time.perf_counter(), time.process_time()])
    evaluator.score(policy)
    wall, processor = np.array([time.perf_counter(), time.process_time()]) - start
    times.seconds.append((float(wall), float(processor)))


if __name__ == "__main__":
    main()
