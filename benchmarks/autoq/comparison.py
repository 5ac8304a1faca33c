"""Searches with AutoQ and with this package, on the same model, images and budget, and measures what both found."""

from __future__ import annotations

import dataclasses
import os
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import openvino as ov
import torch
from numpy.typing import NDArray

from benchmarks.autoq.environment import AutoqError
from benchmarks.autoq.mapping import match_layers
from benchmarks.autoq.process import run_task
from benchmarks.autoq.task import AUTOQ, BITS, AutoqResult, AutoqTask
from nncf_mcq.config.budget import Budget
from nncf_mcq.config.paths import BUDGET_PATH, PRECISION_PATH
from nncf_mcq.errors import ConfigError
from nncf_mcq.job import Job
from nncf_mcq.metrics.metrics import label_free_metrics, top1
from nncf_mcq.model import ModelRunner
from nncf_mcq.pipeline.preparation import Preparation
from nncf_mcq.policy import FLOAT32_BITS, Policy
from nncf_mcq.precision_init.base import PrecisionTask
from nncf_mcq.precision_init.rl import RlPrecision
from nncf_mcq.utils.progress import SilentProgress, Stages

RL, RL_SAME_WIDTHS, UNIFORM = "rl", "rl_same_widths", "uniform"

LARGEST_FLOAT_SCORE = 1e-5
"""Above it, the model in AutoQ's environment does not compute what ours does."""

Progress = Callable[[str, int, int], None]
"""Called with what is going on, and how much of it is done, of how much."""


@dataclass(frozen=True)
class Search:
    """A search of this package.

    Attributes:
        policy: The best policy.
        score: Its score on the search images.
        record: Numbers for the result file.
    """

    policy: Policy
    score: float
    record: dict[str, Any]


def read_job(config: Path, overrides: Mapping[str, Any], average_bits: float | None) -> tuple[Job, float]:
    """Reads a configuration and makes it one for both searches.

    Args:
        config: The JSON file.
        overrides: Dotted paths to values that replace what the file says.
        average_bits: The budget, in the place of the configuration's.

    Returns:
        The job, whose precision initializer is `rl` with the budget, and the budget in bits per weight.

    Raises:
        ConfigError: The configuration cannot be used, or AutoQ has no such budget.
    """
    job = Job.read(config, overrides)
    if average_bits is None:
        average_bits = _average_bits(job.config.compression.initializer.precision.limits)
    model = job.config.model or ""
    if ":" not in model:
        raise ConfigError("model", job.config.model, "PACKAGE.MODULE:CALLABLE or FILE.py:CALLABLE, a torch.nn.Module")
    if job.config.compression.activations.bits != 8:
        raise ConfigError(
            "compression.activations.bits", job.config.compression.activations.bits, "8, as in AutoQ here"
        )
    if job.config.compression.ignored_scopes:
        raise ConfigError("compression.ignored_scopes", job.config.compression.ignored_scopes, "none in this benchmark")
    budget = {"weight_size": {"average_bits": average_bits}}
    return Job.read(config, {**overrides, PRECISION_PATH: {"type": "rl", "budget": budget}}), average_bits


class Comparison:
    """Prepares the model once, searches, and measures.

    Args:
        job: The configuration, of `read_job`.
        average_bits: Budget of all searches.
        evaluations: Policies that AutoQ scores, and different policies that we score, sensitivities included.
        seed: Of all searches.
        progress: Shows progress.

    Raises:
        NncfMcqError: The model or the data cannot be used, or no policy meets the budget.
    """

    def __init__(self, job: Job, average_bits: float, evaluations: int, seed: int, progress: Progress) -> None:
        self.job, self.average_bits, self.evaluations, self.seed = job, average_bits, evaluations, seed
        self._progress = progress
        model = job.load_model()
        if not isinstance(model, torch.nn.Module):
            raise ConfigError("model", job.config.model, "a callable that returns a torch.nn.Module")
        self._model = model
        self.bits = tuple(job.config.compression.weights.bits)
        # One weight table for both searches and for AutoQ's policies.
        widened = job.config.compression.weights.model_copy(update={"bits": sorted({*self.bits, *BITS})})
        compression = job.config.compression.model_copy(update={"weights": widened})
        job = dataclasses.replace(job, config=job.config.model_copy(update={"compression": compression}))
        progress("preparation", 0, 1)
        start = time.perf_counter()
        self._stages = Stages(SilentProgress())
        self.preparation: Preparation = job.prepare(self._stages)
        self.preparation_seconds = time.perf_counter() - start
        progress("preparation", 1, 1)
        weights = {name: module.weight for name, module in model.named_modules() if _has_weights(module)}
        self.modules = match_layers(weights, self.preparation.calibrated.quantizable)

    def run(self, python: Path, folder: Path) -> dict[str, Any]:
        """Searches and measures.

        Args:
            python: Interpreter of AutoQ's environment.
            folder: For what goes to AutoQ and comes back.

        Returns:
            JSON values: `setup`, `searches` and `policies`.
        """
        same = self.search(BITS, RL_SAME_WIDTHS)
        policies = {RL_SAME_WIDTHS: same.policy, **self._uniform()}
        load = [os.getloadavg()[0]]
        autoq = run_task(
            python,
            self.task({name: self.module_bits(policy) for name, policy in policies.items()}).write(
                folder, self._model.state_dict()
            ),
            lambda done: self._progress("AutoQ", done, self.evaluations),
        )
        load.append(os.getloadavg()[0])
        self.check(autoq)
        ours = self.search(self.bits, RL)
        policies = {RL: ours.policy, **policies, AUTOQ: self.policy(autoq.policy)}
        searches = {RL: ours.record, RL_SAME_WIDTHS: same.record, AUTOQ: self._describe(autoq, load)}
        return {
            "setup": self._setup(autoq),
            "searches": searches,
            "policies": self.measure(policies, autoq),
        }

    def search(self, bits: Sequence[int], name: str) -> Search:
        """Searches with the reinforcement learning of this package, from nothing but the prepared statistics.

        Args:
            bits: Widths to choose from.
            name: For the progress.
        """
        budget = {"weight_size": {"average_bits": self.average_bits}}
        parameters = RlPrecision.Parameters(
            budget=Budget.model_validate(budget), evaluations=self.evaluations, seed=self.seed
        )
        task = self._task()
        task = dataclasses.replace(
            task,
            choices=task.quantizable.choices(bits, (task.activation_bits,)),
            progress=lambda done, total: self._progress(name, done, total),
        )
        load = [os.getloadavg()[0]]
        cpu, start = time.process_time(), time.perf_counter()
        found = RlPrecision(parameters).find_policy(task)
        seconds, cpu_seconds = time.perf_counter() - start, time.process_time() - cpu
        load.append(os.getloadavg()[0])
        self._progress(name, self.evaluations, self.evaluations)
        record = {
            "bits": sorted(bits),
            "evaluations": task.evaluator.evaluations,
            "unique": task.evaluator.evaluations,
            "seconds": {"preparation": self.preparation_seconds, "search": seconds},
            "cpu_seconds": cpu_seconds,
            "load": load,
            "best_so_far": self._best_so_far(task),
        }
        return Search(found.policy, task.evaluator.score(found.policy), record)

    def task(self, policies: Mapping[str, Mapping[str, int]]) -> AutoqTask:
        """The same search for AutoQ.

        Args:
            policies: Names to bits by module, for AutoQ's simulation to score as well.
        """
        config, prepared = self.job.config, self.preparation
        # AutoQ knows one set of images to calibrate on, and one to score on.
        fold = prepared.folds[0]
        arguments = {**config.model_arguments, **({"weights": "DEFAULT"} if config.pretrained else {})}
        shape = tuple(prepared.calibrated.quantizable.model.input(0).get_shape())
        return AutoqTask(
            model=config.model or "",
            model_arguments=arguments,
            sample_size=shape,
            calibration=fold.calibrated.calibration.arrays[0],
            search=fold.images.arrays[0],
            reference=fold.reference[0],
            report=self._report[0],
            average_bits=self.average_bits,
            evaluations=self.evaluations,
            seed=self.seed,
            threads=config.runtime.threads,
            policies=policies,
        )

    def check(self, autoq: AutoqResult) -> None:
        """Makes sure that what AutoQ did can be compared.

        Raises:
            AutoqError: Its model is another one, or it does not quantize the same weights.
        """
        if not autoq.float_score < LARGEST_FLOAT_SCORE:
            raise AutoqError(f"the float model in AutoQ's environment computes something else: KL {autoq.float_score}")
        different = set(autoq.layers) ^ set(self.modules.values())
        if different:
            names = ", ".join(sorted(different)[:3])
            raise AutoqError(f"only one side quantizes the weights of {len(different)} modules, e.g. {names}")

    def policy(self, module_bits: Mapping[str, int]) -> Policy:
        """A policy of ours from bits by module."""
        return self._task().policy({group: module_bits[module] for group, module in self.modules.items()})

    def module_bits(self, policy: Policy) -> dict[str, int]:
        """Bits by module from a policy of ours."""
        return {module: policy.weight_bits[group] for group, module in self.modules.items()}

    def measure(self, policies: Mapping[str, Policy], autoq: AutoqResult) -> dict[str, dict[str, Any]]:
        """Quality of the policies: in our models, and in AutoQ's simulation if it scored them.

        In both, scores are of the search images; the test images were seen by no search. The weights of our models
        for the report are those that would ship but for the sequential pass.

        Args:
            policies: Ours and AutoQ's.
            autoq: Has the scores and outputs of AutoQ's simulation.
        """
        task, calibrated = self._task(), self.preparation.calibrated
        float_outputs = self._outputs(calibrated.quantizable.model)
        found: dict[str, dict[str, Any]] = {"float": {"report": self._metrics(float_outputs, None)}}
        for index, (name, policy) in enumerate(policies.items()):
            self._progress("report", index, len(policies))
            outputs = self._outputs(calibrated.build(policy, self._final_table))
            found[name] = {
                "average_bits": task.costs.average_bits(policy),
                "weight_bits": dict(policy.weight_bits),
                "score": task.evaluator.score(policy),
                "report": self._metrics(outputs, float_outputs),
            }
            if name in autoq.policies:
                simulated = self._metrics(autoq.outputs[name], float_outputs)
                found[name]["simulation"] = {"score": autoq.policies[name], "report": simulated}
        self._progress("report", len(policies), len(policies))
        return found

    def _uniform(self) -> dict[str, Policy]:
        """The widest uniform policy that the budget allows and AutoQ can choose."""
        allowed = [bits for bits in BITS if bits <= self.average_bits]
        return {UNIFORM: self._task().policy(dict.fromkeys(self.modules, allowed[-1]))} if allowed else {}

    def _task(self) -> PrecisionTask:
        return self.preparation.task()

    def _describe(self, autoq: AutoqResult, load: Sequence[float]) -> dict[str, Any]:
        sizes = {module: self._weights[group] for group, module in self.modules.items()}
        counts = np.array([sizes[module] for module in autoq.layers])
        averages = [float((counts * item.weight_bits).sum() / counts.sum()) for item in autoq.evaluations]
        best = min(autoq.evaluations, key=lambda item: item.score)
        return {
            "bits": list(BITS),
            "evaluations": len(autoq.evaluations),
            "unique": autoq.unique,
            "seconds": dict(autoq.seconds),
            "cpu_seconds": autoq.cpu_seconds,
            "load": list(load),
            "threads": autoq.threads,
            "average_bits": {"smallest": min(averages), "largest": max(averages)},
            "activation_bits": sorted({bits for item in autoq.evaluations for bits in item.activation_bits}),
            "returns_its_best": best.weight_bits == autoq.final,
            "float_score": autoq.float_score,
            "parameters": dict(autoq.parameters),
            "versions": dict(autoq.versions),
            "layers": list(autoq.layers),
            "scored": [
                {
                    "seconds": round(item.seconds, 3),
                    "score": item.score,
                    "average_bits": round(average, 4),
                    "weight_bits": "".join(map(str, item.weight_bits)),
                }
                for item, average in zip(autoq.evaluations, averages, strict=True)
            ],
        }

    def _setup(self, autoq: AutoqResult) -> dict[str, Any]:
        prepared = self.preparation
        return {
            "model": self.job.config.model and Path(self.job.config.model).parent.name,
            "layers": len(prepared.calibrated.quantizable.layers),
            "weights": prepared.calibrated.quantizable.quantizable_weights,
            "average_bits": self.average_bits,
            "evaluations": self.evaluations,
            "seed": self.seed,
            "calibration_images": len(prepared.folds[0].calibrated.calibration),
            "search_images": prepared.images,
            "report_images": len(self._report[0]),
            "threads": self.job.config.runtime.threads,
            "autoq_threads": autoq.threads,
            "cpus": os.cpu_count(),
        }

    def _best_so_far(self, task: PrecisionTask) -> list[tuple[int, float]]:
        """Number of evaluations and score of each policy within the budget that was better than all before."""
        curve: list[tuple[int, float]] = []
        for count, (key, score) in enumerate(task.evaluator.scores_from(0), start=1):
            is_feasible = task.costs.average_bits(Policy(dict(key[0]))) <= self.average_bits * (1 + 1e-9)
            if is_feasible and (not curve or score < curve[-1][1]):
                curve.append((count, score))
        return curve

    @cached_property
    def _weights(self) -> dict[str, int]:
        return {name: members[0].weights for name, members in self.preparation.calibrated.quantizable.groups.items()}

    @cached_property
    def _final_table(self) -> Any:
        calibrated, fold = self.preparation.calibrated, self.preparation.folds[0]
        if fold.calibrated is calibrated:
            return fold.table
        return calibrated.weight_table(sorted({*self.bits, *BITS}), self._stages)

    @cached_property
    def _report(self) -> tuple[NDArray[np.float32], NDArray[np.int64] | None]:
        splits = self.job.load_dataset()
        images, targets = zip(*(splits.report[index] for index in range(len(splits.report))), strict=True)
        return np.stack(images), np.array(targets) if splits.has_targets else None

    def _outputs(self, model: ov.Model) -> NDArray[np.float32]:
        runtime = self.job.config.runtime
        outputs, *_ = ModelRunner.compile(model, runtime.threads, batch_size=runtime.batch_size)([self._report[0]])
        return outputs

    def _metrics(self, outputs: NDArray[np.float32], reference: NDArray[np.float32] | None) -> dict[str, float]:
        targets = self._report[1]
        found = {} if targets is None else {"top1": top1(outputs, targets)}
        return found if reference is None else found | label_free_metrics(outputs, reference)


def _has_weights(module: torch.nn.Module) -> bool:
    return isinstance(module, torch.nn.Conv1d | torch.nn.Conv2d | torch.nn.Linear)


def _average_bits(budget: Budget | None) -> float:
    size = None if budget is None else budget.weight_size
    if budget is None or size is None or budget.bops is not None or size.bytes is not None:
        found = None if budget is None else budget.model_dump(exclude_none=True)
        raise ConfigError(
            BUDGET_PATH, found, "weight_size with average_bits or ratio, as AutoQ has it; or --average-bits"
        )
    assert size.average_bits is not None or size.ratio is not None
    return size.average_bits if size.average_bits is not None else FLOAT32_BITS * (size.ratio or 0.0)
