"""Time of the sequential pass with networks run on from kept values, and with each layer starting at the images."""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence

import numpy as np
from rich.table import Table

from benchmarks.command import add_config, errors_as_messages, read_job, show
from nncf_mcq.pipeline.calibrated_model import CalibratedModel
from nncf_mcq.policy import Policy
from nncf_mcq.utils.progress import SilentProgress, Stages
from nncf_mcq.weights import input_shift
from nncf_mcq.weights.weight_table import WeightTable

FORMS = {"from the images": 0, "from kept values": input_shift.CUT_BYTES}
"""What is measured, and the memory that a kept value may take."""


def main(arguments: Sequence[str] | None = None) -> None:
    """Parses the command line, measures and prints."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.sequential_pass", description=__doc__)
    add_config(parser)
    parser.add_argument("--bits", type=int, default=4, metavar="B", help="bit-width of all layers")
    parser.add_argument("--rounds", type=int, default=2, metavar="N", help="the two take turns so many times")
    parsed = parser.parse_args(arguments)
    stages = Stages(SilentProgress())
    with errors_as_messages(parser):
        job = read_job(parsed)
        calibrated = job.calibrate(job.openvino_model(), job.load_dataset(stages), stages)
        table = calibrated.weight_table([parsed.bits], stages)
    seconds = measure(calibrated, table, parsed.bits, parsed.rounds, stages)
    shown = Table("each layer's inputs are computed", "seconds of the processor", "ratio")
    first = np.array(seconds["from the images"])
    for form, found in seconds.items():
        shown.add_row(form, f"{np.median(found):.1f}", f"{np.median(np.array(found) / first):.2f}")
    show(shown)


def measure(
    calibrated: CalibratedModel, table: WeightTable, bits: int, rounds: int, stages: Stages
) -> dict[str, list[float]]:
    """Processor seconds of the pass over a uniform policy in each form, round by round."""
    layers = [layer.name for layer in calibrated.quantizable.layers]
    policy = Policy(dict.fromkeys(layers, bits), calibrated.activation_bits)
    seconds: dict[str, list[float]] = {form: [] for form in FORMS}
    kept = input_shift.CUT_BYTES
    try:
        for _ in range(rounds):
            for form, limit in FORMS.items():
                input_shift.CUT_BYTES = limit
                start = time.process_time()
                calibrated.requantize_sequentially(policy, table, stages)
                seconds[form].append(time.process_time() - start)
    finally:
        input_shift.CUT_BYTES = kept
    return seconds


if __name__ == "__main__":
    main()
