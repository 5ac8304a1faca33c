"""How time and memory of a search grow: with its evaluations, with the network, and with the number of images.

Every point but those of `evaluations` is a process of its own. Times are those of the processor, of one thread: other
programs count less. Memory is resident memory, exact on Linux.
"""

from __future__ import annotations

import argparse
import dataclasses
import gc
import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import openvino as ov
import psutil
import torch
import torchvision
from rich import box
from rich.table import Table

from benchmarks.command import add_overrides, errors_as_messages, show
from benchmarks.growth_chart import draw
from benchmarks.memory import peak_megabytes, reset_peak
from nncf_mcq.config.catalog import find_config
from nncf_mcq.config.overrides import parse_overrides
from nncf_mcq.config.schema import Config, load_config
from nncf_mcq.job import Job
from nncf_mcq.metrics.output_scores import choose_scores
from nncf_mcq.model.loading import to_openvino
from nncf_mcq.model.outputs import describe_outputs
from nncf_mcq.model.runner import ModelRunner
from nncf_mcq.model.samples import Samples
from nncf_mcq.pipeline.calibrated_model import CalibratedModel
from nncf_mcq.pipeline.preparation import Preparation, SearchFold
from nncf_mcq.policy import Policy
from nncf_mcq.precision_init.base import PRECISION_INITIALIZERS, PrecisionTask
from nncf_mcq.precision_init.evaluator import Evaluator, Fold
from nncf_mcq.utils.files import write_text_atomically
from nncf_mcq.utils.progress import SilentProgress, Stages

BITS = (2, 4, 8)
"""Bit-widths of the networks with random weights."""
_SHAPE = (1, 3, 224, 224)
STAGES = ("statistics", "weight table", "search")
EVALUATIONS = 20
"""Of the search where something else grows."""


@dataclass
class Point:
    """One measurement.

    Attributes:
        name: Of the network or the images.
        size: What grows: evaluations, weights or images.
        seconds: Processor time by part.
        megabytes: Memory by part.
    """

    name: str
    size: int
    seconds: dict[str, float] = field(default_factory=dict)
    megabytes: dict[str, float] = field(default_factory=dict)

    @contextmanager
    def part(self, name: str) -> Iterator[None]:
        """Takes the time and the peak memory of a part."""
        if not reset_peak():
            print(f"{name}: the peak of memory cannot be reset, it is that of all so far", file=sys.stderr)
        start = time.process_time()
        yield
        self.seconds[name] = time.process_time() - start
        self.megabytes[name] = peak_megabytes()


class TimedEvaluator(Evaluator):
    """An evaluator that knows the processor time of the policies that were proposed."""

    seconds = 0.0

    def score(self, policy: Policy) -> float:
        """As the base class."""
        start = time.process_time()
        try:
            return super().score(policy)
        finally:
            self.seconds += time.process_time() - start


def main(arguments: Sequence[str] | None = None) -> None:
    """Parses the command line, measures, prints and draws."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.growth", description=__doc__)
    parser.add_argument("what", choices=["evaluations", "network", "images"], help="what grows")
    parser.add_argument("subjects", nargs="+", metavar="CONFIG", help="for network: names of networks of torchvision")
    parser.add_argument("--sizes", type=int, nargs="+", metavar="N", help="numbers of evaluations or images")
    parser.add_argument("--images", type=int, default=8, metavar="N", help="images where the network grows")
    add_overrides(parser, "CONFIG")
    parser.add_argument("--chart", type=Path, metavar="FILE.svg", help="draws the figures")
    parser.add_argument("--point", action="store_true", help=argparse.SUPPRESS)
    parsed = parser.parse_args(arguments)
    sizes = parsed.sizes or {"evaluations": range(100, 1001, 100), "images": (32, 64, 128, 256, 512)}.get(parsed.what)
    if min([parsed.images, *(sizes or [1])]) < 1:
        parser.error("--sizes, --images: allowed: 1 or more")
    torch.set_num_threads(1)
    with errors_as_messages(parser):
        if parsed.what == "evaluations":
            found = [point for name in parsed.subjects for point in grow_evaluations(name, sorted(sizes), parsed.set)]
        elif parsed.point:
            (name,) = parsed.subjects
            point = network_point(name, parsed.images) if sizes is None else images_point(name, sizes[0], parsed.set)
            print(json.dumps(dataclasses.asdict(point)))
            return
        else:
            found = [
                _in_a_process(parsed.what, name, size, parsed.images, parsed.set)
                for name in parsed.subjects
                for size in sizes or [0]
            ]
    print_table(parsed.what, found)
    if parsed.chart is not None:
        series = {name: [dataclasses.asdict(point) for point in found if point.name == name] for name in names(found)}
        if parsed.what == "network":
            series = {"": [dataclasses.asdict(point) for point in found]}
        write_text_atomically(parsed.chart, draw(AXES[parsed.what], series))


AXES = {"evaluations": "evaluations", "network": "weights", "images": "calibration images"}
"""What grows, in the words of a chart."""


def names(points: Sequence[Point]) -> list[str]:
    """Each name once."""
    return list(dict.fromkeys(point.name for point in points))


def grow_evaluations(name: str, sizes: Sequence[int], settings: Sequence[str]) -> list[Point]:
    """One search, looked at after so many evaluations: the agent's own time, and what the process holds.

    Args:
        name: A configuration; its precision initializer is replaced but for the budget.
        sizes: Numbers of evaluations, ascending.
        settings: `PATH=VALUE`.
    """
    job = Job.read(find_config(name), {"runtime.threads": 1} | parse_overrides(settings))
    limits = job.config.compression.initializer.precision.limits
    assert limits is not None
    preparation = job.prepare(Stages(SilentProgress()))
    folds = [Fold(fold.build, fold.images, fold.reference) for fold in preparation.folds]
    evaluator = TimedEvaluator(folds, preparation.score, threads=1, batch_size=preparation.runtime.batch_size)
    points: list[Point] = []
    process, start = psutil.Process(), time.process_time()

    def look(done: int, total: int) -> None:
        if len(points) < len(sizes) and done >= sizes[len(points)]:
            own = time.process_time() - start - evaluator.seconds
            gc.collect()
            resident = process.memory_info().rss / 2**20
            # The agent's first: with the sensitivities, which the search starts from.
            points.append(Point(name, done, {"agent": own, "scoring": evaluator.seconds}, {"resident": resident}))
            print(f"{name}: {done} of {sizes[-1]}", file=sys.stderr, flush=True)

    task = dataclasses.replace(preparation.task(), evaluator=evaluator, progress=look)
    search(task, {"budget": limits.model_dump(exclude_none=True), "evaluations": sizes[-1], "patience": None})
    return points


def search(task: PrecisionTask, settings: Mapping[str, object]) -> None:
    """A search by reinforcement learning."""
    parameters = load_config({"compression": {"initializer": {"precision": {"type": "rl", **settings}}}})
    PRECISION_INITIALIZERS.create(parameters.compression.initializer.precision).find_policy(task)


def network_point(name: str, images: int) -> Point:
    """All that a search starts from, and a short search, of a network of torchvision with random weights and images."""
    torch.manual_seed(0)
    module = torchvision.models.get_model(name, weights=None)
    random = np.random.default_rng(0).normal(size=(images, *_SHAPE[1:])).astype(np.float32)
    # Statistics of batch normalization that fit the weights: values would grow with each block.
    with torch.no_grad():
        for layer in module.modules():
            if isinstance(layer, torch.nn.BatchNorm2d):
                layer.momentum = None
        module.train()(torch.from_numpy(random[:4]))
    model = to_openvino(module.eval(), _SHAPE)
    del module
    config = load_config({"compression": {"weights": {"bits": list(BITS)}}, "runtime": {"threads": 1}})
    return measure(name, None, model, Samples([random]), config)


def images_point(name: str, images: int, settings: Sequence[str]) -> Point:
    """The same of a configuration with so many images, repeated where there are fewer."""
    replaced = {"runtime.threads": 1, "compression.initializer.num_init_samples": images}
    job = Job.read(find_config(name), replaced | parse_overrides(settings))
    model = job.openvino_model()
    known = job.calibration_images(model, job.load_dataset())
    samples = Samples([np.take(array, np.arange(images) % len(array), axis=0) for array in known.arrays])
    return measure(name, images, model, samples, job.config)


def measure(name: str, size: int | None, model: ov.Model, samples: Samples, config: Config) -> Point:
    """Statistics, weight table and a short search, one after the other.

    Args:
        name: Of the point.
        size: What grows; None for the number of weights.
        model: Float model.
        samples: For calibration and search.
        config: With one thread.
    """
    point, stages, compression = Point(name, size or 0), Stages(SilentProgress()), config.compression
    with point.part("statistics"):
        calibrated = CalibratedModel.prepare(model, samples, compression, 1, stages)
    with point.part("weight table"):
        table = calibrated.weight_table(compression.weights.bits, stages)
    point.size = point.size or calibrated.quantizable.quantizable_weights
    with point.part("search"):
        reference = ModelRunner.compile(model, 1, batch_size=1)(samples.arrays)
        score = choose_scores(describe_outputs(model), reference, None)
        fold = SearchFold(calibrated, table, samples, reference)
        runtime = config.runtime.model_copy(update={"batch_size": 1})
        task = Preparation(calibrated, (fold,), score, calibrated.costs(table), False, runtime).task()
        budget = {"weight_size": {"average_bits": 4}}
        search(task, {"budget": budget, "evaluations": EVALUATIONS, "patience": None, "warm_start": "none"})
    return point


def bend(points: Sequence[Point], value: Callable[[Point], float]) -> float | None:
    """How much faster a value grows in the second half of the points than in the first: 1 where it is linear.

    Returns:
        None where it does not grow by a tenth, or there are fewer than three points.
    """
    first, middle, last = points[0], points[len(points) // 2], points[-1]
    if len(points) < 3 or value(last) < 1.1 * value(first) or value(middle) <= value(first):
        return None
    slopes = [
        (value(after) - value(before)) / (after.size - before.size)
        for before, after in ((first, middle), (middle, last))
    ]
    return slopes[1] / slopes[0]


def print_table(what: str, points: Sequence[Point]) -> None:
    """A row for each point, and how far each line is from a straight one."""
    seconds, memory = list(points[0].seconds), list(points[0].megabytes)
    heads = [AXES[what], *(f"{part}, s" for part in seconds), *(f"{part}, MB" for part in memory)]
    table = Table("", *heads, box=box.MARKDOWN)
    groups = {"": list(points)} if what == "network" else {n: [p for p in points if p.name == n] for n in names(points)}
    for group in groups.values():
        for point in group:
            values = [f"{point.seconds[part]:.1f}" for part in seconds]
            values += [f"{point.megabytes[part]:.0f}" for part in memory]
            table.add_row(point.name, f"{point.size:,}", *values)
        bends = [bend(group, lambda point, part=part: point.seconds[part]) for part in seconds]  # type: ignore[misc]
        bends += [bend(group, lambda point, part=part: point.megabytes[part]) for part in memory]  # type: ignore[misc]
        table.add_row("", "bend", *("" if value is None else f"{value:.2f}" for value in bends))
    show(table, width=160)


def _in_a_process(what: str, name: str, size: int, images: int, settings: Sequence[str]) -> Point:
    options = [option for item in settings for option in ("--set", item)]
    options += ["--images", str(images), *(["--sizes", str(size)] if size else [])]
    command = [sys.executable, "-m", "benchmarks.growth", what, name, "--point", *options]
    print(f"{name} {size or ''}", file=sys.stderr, flush=True)
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False)
    if done.returncode:
        # It has said why.
        sys.exit(done.returncode)
    values: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    # What was measured is told, whatever becomes of the others.
    print(json.dumps(values), file=sys.stderr, flush=True)
    return Point(**values)


if __name__ == "__main__":
    main()
