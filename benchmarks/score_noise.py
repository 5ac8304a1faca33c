"""How well a score tells policies apart: its paired error on the search images, and its order on the test images."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import openvino as ov
from numpy.typing import NDArray
from rich.table import Table
from scipy.stats import spearmanr

from benchmarks.command import add_config, errors_as_messages, read_job, show
from nncf_mcq.data.chunks import iterate_samples, stack_inputs
from nncf_mcq.job import Job
from nncf_mcq.metrics.scores import get_score, image_values
from nncf_mcq.model.runner import ModelRunner
from nncf_mcq.pipeline.preparation import Preparation
from nncf_mcq.policy import Policy
from nncf_mcq.precision_init import PrecisionTask
from nncf_mcq.precision_init.ilp import solve
from nncf_mcq.precision_init.sensitivity import measure_sensitivities
from nncf_mcq.utils.console_progress import ConsoleProgress
from nncf_mcq.utils.progress import Stages

TRUTH = "kl"
"""The score on the test images that the order of policies is compared with."""

SPREAD = 0.3
"""Standard deviation of the logarithm of what each sensitivity is multiplied by, to draw policies near the best."""


@dataclass(frozen=True)
class Noise:
    """How well one score tells policies apart.

    Attributes:
        score: Its name.
        error: Median standard error of the paired difference to the first policy, relative to the mean score.
        spread: Standard deviation of the policies' scores, relative to the mean score.
        same: Rank correlation with the same score on the test images.
        truth: Rank correlation with `TRUTH` on the test images.
    """

    score: str
    error: float
    spread: float
    same: float
    truth: float


def main(arguments: Sequence[str] | None = None) -> None:
    """Parses the command line, scores policies near the best and prints."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.score_noise", description=__doc__)
    add_config(parser, " of a classifier; its budget is kept")
    parser.add_argument("--policies", type=int, default=30, metavar="N", help="drawn around the policy of the ILP")
    parser.add_argument("--scores", nargs="+", default=["kl", "softened_kl", "squared_error"], metavar="NAME")
    parser.add_argument("--seed", type=int, default=0)
    parsed = parser.parse_args(arguments)
    if parsed.policies < 3:
        parser.error("--policies: allowed: 3 or more")
    with errors_as_messages(parser):
        job = read_job(parsed)
        with ConsoleProgress() as progress:
            stages = Stages(progress)
            found = measure(job, job.prepare(stages), parsed.scores, parsed.policies, parsed.seed, stages)
    table = Table("score", "paired error", "spread of policies", "order on test images", f"order of test {TRUTH}")
    for row in found:
        table.add_row(row.score, f"{row.error:.1%}", f"{row.spread:.1%}", f"{row.same:.2f}", f"{row.truth:.2f}")
    show(table)


def measure(
    job: Job, preparation: Preparation, names: Sequence[str], count: int, seed: int, stages: Stages
) -> list[Noise]:
    """Scores policies near the best on the search images and on the test images.

    Args:
        job: Of a classifier, with a budget.
        preparation: Of the job.
        names: Of the scores.
        count: Number of policies.
        seed: Of the policies.
        stages: Reports the progress.
    """
    task = preparation.task(stages)
    with stages.stage("sensitivities"):
        policies = _policies(job, task, count, seed)
    samples = [sample for sample, _ in iterate_samples(job.load_dataset().report)]
    test = stack_inputs(samples)
    final = preparation.calibrated
    table = final.weight_table(job.config.compression.weights.bits, stages)
    (expected,) = _runner(preparation, final.quantizable.model)(test)
    searched: dict[str, list[NDArray[np.float64]]] = {name: [] for name in names}
    tested: dict[str, list[float]] = {name: [] for name in {*names, TRUTH}}
    with stages.stage("policies", len(policies)) as advance:
        for policy in policies:
            outputs = [
                (_runner(preparation, fold.build(policy))(fold.images.arrays)[0], fold.reference[0])
                for fold in preparation.folds
            ]
            for name in names:
                searched[name].append(np.concatenate([image_values(get_score(name), *pair) for pair in outputs]))
            (found,) = _runner(preparation, final.build(policy, table, packed=False))(test)
            for name, values in tested.items():
                values.append(get_score(name)(found, expected))
            advance()
    return [_noise(name, np.array(searched[name]), tested) for name in names]


def _runner(preparation: Preparation, model: ov.Model) -> ModelRunner:
    """A runner of a model as the search has it."""
    runtime = preparation.runtime
    return ModelRunner.compile(model, runtime.threads, batch_size=runtime.batch_size)


def _policies(job: Job, task: PrecisionTask, count: int, seed: int) -> list[Policy]:
    """The ILP's policy, and those of sensitivities that are a little other ones; all different."""
    budget = job.initializer().parameters.limits
    assert budget is not None
    constraints = task.costs.constraints(budget, task.choices)
    sensitivities = measure_sensitivities(task, 3)
    found = {(policy := task.policy(solve(sensitivities, constraints))).key: policy}
    random = np.random.default_rng(seed)
    for _ in range(20 * count):
        if len(found) >= count:
            break
        factors = np.exp(SPREAD * random.standard_normal(len(sensitivities)))
        changed = {
            group: {bits: value * factor for bits, value in values.items()}
            for (group, values), factor in zip(sensitivities.items(), factors, strict=True)
        }
        policy = task.policy(solve(changed, constraints))
        found.setdefault(policy.key, policy)
    return list(found.values())


def _noise(name: str, values: NDArray[np.float64], tested: dict[str, list[float]]) -> Noise:
    means = values.mean(axis=1)
    differences = values[1:] - values[0]
    errors = differences.std(axis=1, ddof=1) / np.sqrt(values.shape[1])
    return Noise(
        name,
        float(np.median(errors) / means.mean()),
        float(means.std() / means.mean()),
        float(spearmanr(means, tested[name])[0]),
        float(spearmanr(means, tested[TRUTH])[0]),
    )


if __name__ == "__main__":
    main()
