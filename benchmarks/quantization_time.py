"""How long a whole quantization takes at uniform bit-widths, beside `nncf.quantize` on the same images, interleaved."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence
from statistics import median

import nncf
import openvino as ov
from rich.table import Table

from benchmarks.command import add_overrides, errors_as_messages, show
from nncf_mcq import quantize
from nncf_mcq.config.catalog import find_config
from nncf_mcq.config.overrides import parse_overrides
from nncf_mcq.config.schema import Config
from nncf_mcq.job import Job
from nncf_mcq.model.int8 import nncf_int8
from nncf_mcq.model.samples import Samples, input_shapes
from nncf_mcq.policy import SUPPORTED_BITS

NNCF = "nncf.quantize"


def main(arguments: Sequence[str] | None = None) -> None:
    """Parses the command line, measures and prints."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("configs", nargs="+", metavar="CONFIG", help="JSON files, or names of recipes")
    parser.add_argument("--bits", type=int, nargs="+", default=[8, 4], choices=SUPPORTED_BITS)
    parser.add_argument("--rounds", type=int, default=3)
    add_overrides(parser, "every config")
    parsed = parser.parse_args(arguments)
    table = Table("model", "quantization", "seconds", "ratio", "weight table, seconds")
    with errors_as_messages(parser):
        for name in parsed.configs:
            job = Job.read(find_config(name), parse_overrides(parsed.set))
            model = job.openvino_model()
            images = job.calibration_images(model, job.load_dataset())
            found = measure(model, images, job.config, parsed.bits, parsed.rounds)
            base = median(total for total, _ in found[NNCF])
            for label, times in found.items():
                total, part = (median(values) for values in zip(*times, strict=True))
                row = [f"{total:.1f}", f"{total / base:.2f}", f"{part:.1f}" if part else ""]
                table.add_row(name, label, *row)
    show(table, width=120)


def measure(
    model: ov.Model, images: Samples, config: Config, bits: Sequence[int], rounds: int
) -> dict[str, list[tuple[float, float]]]:
    """Seconds of each quantization, in all and of the weight tables in it.

    Args:
        model: Float model.
        images: The calibration samples.
        config: Its precision initializer is replaced.
        bits: Uniform bit-widths.
        rounds: Interleaved turns.
    """
    samples = [images.tensors(index, input_shapes(model)) for index in range(len(images))]
    dataset = nncf.Dataset([inputs[0] if len(inputs) == 1 else tuple(inputs) for inputs in samples])

    def run(width: int | None) -> float:
        """Seconds of the weight tables."""
        if width is None:
            nncf_int8(model, images, config.compression.ignored_scopes)
            return 0.0
        settings = config.to_dict()
        settings["compression"]["initializer"]["precision"] = {"type": "uniform", "bits": width}
        seconds = quantize(model.clone(), dataset, settings).seconds
        return sum(value for stage, value in seconds.items() if stage.startswith("weight table"))

    widths = {NNCF: None, **{f"uniform, {width} bits": width for width in bits}}
    found: dict[str, list[tuple[float, float]]] = {label: [] for label in widths}
    for _ in range(rounds):
        for label, width in widths.items():
            start = time.perf_counter()
            tables = run(width)
            found[label].append((time.perf_counter() - start, tables))
            print(f"{label}: {found[label][-1][0]:.1f} s", file=sys.stderr, flush=True)
    return found


if __name__ == "__main__":
    main()
