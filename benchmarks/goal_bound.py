"""How often a goal's bound holds on images that the search did not see, over random draws of its images."""

from __future__ import annotations

import argparse
import dataclasses
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import nncf
import numpy as np
from numpy.typing import NDArray

from benchmarks.command import add_config, errors_as_messages, read_job
from nncf_mcq.calibration.images import collect_images
from nncf_mcq.config.goal import AT_LEAST
from nncf_mcq.config.search_report import GoalReport
from nncf_mcq.data.splits import ImageDataset, Subset
from nncf_mcq.job import Job
from nncf_mcq.metrics import SHARES
from nncf_mcq.pipeline.final_weights import make_final_weights
from nncf_mcq.pipeline.preparation import prepare
from nncf_mcq.policy import PolicyKey
from nncf_mcq.precision_init.base import PRECISION_INITIALIZERS
from nncf_mcq.precision_init.estimate import ImageScores
from nncf_mcq.utils.progress import SilentProgress, Stages

GOALS: Sequence[Mapping[str, float]] = ({"agreement": 0.97}, {"kl": 0.02}, {"top1_drop": 1.0})


@dataclass(frozen=True)
class Draw:
    """What was promised of one policy, and what came true.

    Attributes:
        seed: Of the draw.
        goal: What the search said.
        held_out: The quantity on the images that neither calibration nor search saw, with the weights that ship.
    """

    seed: int
    goal: GoalReport
    held_out: float

    @property
    def holds(self) -> bool:
        """Whether the quantity is on the right side of the bound."""
        if self.goal.bound is None:
            return True
        is_lower = self.goal.quantity in AT_LEAST
        return self.held_out >= self.goal.bound if is_lower else self.held_out <= self.goal.bound


def measure(
    job: Job,
    draws: int,
    goals: Sequence[Mapping[str, float]] = GOALS,
    *,
    calibration: int = 256,
    search: int = 512,
) -> Iterator[Draw]:
    """Draws calibration and search images from the job's test images and holds out the others.

    Images that the network was trained on are no fair draw of those that it will see.

    Args:
        job: A classifier with labels; its precision initializer takes goals.
        draws: How many.
        goals: As in a configuration; those of one draw share its sensitivities.
        calibration: Images for the statistics.
        search: Further images that policies are scored on; 0 for the halves of the calibration images.
    """
    splits, model = job.load_dataset(), job.openvino_model()
    pool = splits.report
    precision = job.config.compression.initializer.precision
    for seed in range(draws):
        order = np.random.default_rng(seed).permutation(len(pool))
        parts = np.split(order, [calibration, calibration + search])
        scored = parts[1] if search else parts[0]
        targets = [pool[int(index)][1] for index in scored]
        report = job.report(dataclasses.replace(splits, report=Subset(pool, parts[2].tolist())))
        before = report(model)
        shared: dict[PolicyKey, ImageScores] = {}
        prepared = None
        for goal in goals:
            initializer = PRECISION_INITIALIZERS.create(
                type(precision).model_validate({**precision.model_dump(), "budget": None, "goal": goal})
            )
            stages = Stages(SilentProgress())
            prepared = prepared or prepare(
                model,
                collect_images(_dataset(pool, parts[0]), None, model),
                job.config.compression,
                job.config.runtime,
                initializer,
                stages,
                search_dataset=_dataset(pool, scored) if search else None,
                search_targets=targets,
                score=job.score(),
            )
            task = prepared.task(shared_scores=shared)
            found = initializer.find_policy(task)
            assert found.goal is not None
            final = make_final_weights(found.policy, prepared, task.evaluator, stages)
            after = report(prepared.calibrated.build(found.policy, final.table))
            yield Draw(seed, found.goal, _held_out(found.goal.quantity, before, after))


def _held_out(quantity: str, before: Mapping[str, float], after: Mapping[str, float]) -> float:
    metric = quantity.removesuffix("_drop")
    if metric == quantity:
        return after[quantity]
    return (before[metric] - after[metric]) * (100 if metric in SHARES else 1)


def _dataset(images: ImageDataset, which: NDArray[np.intp]) -> nncf.Dataset:
    return nncf.Dataset(which.tolist(), lambda index: images[index][0][None])


def main(arguments: Sequence[str] | None = None) -> None:
    """Parses the command line, and prints a line for each draw and the count for each goal."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.goal_bound",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add_config(parser, " with ilp or greedy")
    parser.add_argument("--draws", type=int, default=20, metavar="N")
    parser.add_argument("--goal", action="append", type=json.loads, metavar="JSON", help="may be repeated")
    parser.add_argument("--calibration", type=int, default=256, metavar="N", help="calibration images")
    parser.add_argument("--search", type=int, default=512, metavar="N", help="search images; 0: calibration halves")
    parsed = parser.parse_args(arguments)
    found: dict[str, list[Draw]] = {}
    with errors_as_messages(parser):
        job = read_job(parsed)
        sizes = {"calibration": parsed.calibration, "search": parsed.search}
        for draw in measure(job, parsed.draws, parsed.goal or GOALS, **sizes):
            goal = draw.goal
            found.setdefault(f"{goal.quantity} {goal.limit:g}", []).append(draw)
            print(
                f"{draw.seed}: {goal.quantity} {goal.limit:g}: {goal.average_bits:.2f} bits, {goal.value:.4f}, bound "
                f"{goal.bound:.4f}, held out {draw.held_out:.4f}{'' if draw.holds else ', MISSED'}",
                flush=True,
            )
    for name, rows in found.items():
        bits = np.mean([row.goal.average_bits for row in rows])
        print(f"{name}: the bound holds in {sum(row.holds for row in rows)} of {len(rows)}, {bits:.2f} bits on average")


if __name__ == "__main__":
    main()
