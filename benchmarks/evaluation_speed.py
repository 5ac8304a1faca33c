"""How fast accuracy is evaluated, beside what `benchmark_app` shows for the same file.

Decoded images lie in memory, so that the disk and the decoder play no part. The two take turns.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from statistics import median

import numpy as np
from rich.table import Table

from benchmarks.command import errors_as_messages, show
from openvino_eval import ArraySamples, EvaluationError, Mode, predict, run_benchmark_app
from openvino_eval.cli.arguments import parse_models
from openvino_eval.machine import LoadMeter
from openvino_eval.runtime import read_model


def main(arguments: Sequence[str] | None = None) -> None:
    """Parses the command line, measures and prints."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="+", metavar="MODEL", help="PATH or NAME=PATH of models with one image input")
    parser.add_argument("--images", type=int, default=500)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=int, default=2, help="seconds per round of benchmark_app")
    parser.add_argument("--threads", type=int, default=2)
    parsed = parser.parse_args(arguments)
    table = Table("model", "evaluation, images/s", "benchmark_app, inferences/s", "ratio", "of each round")
    meter = LoadMeter()
    with errors_as_messages(parser, EvaluationError):
        for name, model in parse_models(parsed.models).items():
            shape = tuple(read_model(model).input(0).get_shape())[1:]
            images = np.random.default_rng(0).standard_normal((parsed.images, *shape), dtype=np.float32)
            samples = ArraySamples(images, np.zeros(parsed.images))
            pairs = []
            for turn in range(parsed.rounds):
                ours = predict({"model": model}, samples, threads=parsed.threads).images_per_second["model"]
                theirs = run_benchmark_app(
                    model, seconds=parsed.seconds, threads=parsed.threads, mode=Mode.THROUGHPUT
                ).throughput_fps
                pairs.append((ours, theirs))
                print(f"{name}: round {turn + 1} of {parsed.rounds}", file=sys.stderr, flush=True)
            ratios = [ours / theirs for ours, theirs in pairs]
            speeds = (f"{median(values):.1f}" for values in zip(*pairs, strict=True))
            table.add_row(name, *speeds, f"{median(ratios):.3f}", " ".join(f"{ratio:.2f}" for ratio in ratios))
    show(table, width=120)
    load = meter.read()
    print(
        f"{parsed.threads} threads; other programs took {100 * load.others:.0f} % of the processor, "
        f"load {load.load:.1f}"
    )


if __name__ == "__main__":
    main()
