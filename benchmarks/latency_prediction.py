"""How well a latency table predicts policies: random ones, predicted and then measured."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

import numpy as np
from rich.table import Table
from scipy.stats import spearmanr

from benchmarks.command import add_config, errors_as_messages, read_job, show
from nncf_mcq.ir.template import place_activation_quantizers
from nncf_mcq.latency import LatencyModels, check_precision, find_table, measure_ratio
from nncf_mcq.model.layers import find_layers
from nncf_mcq.utils.console_progress import ConsoleProgress
from nncf_mcq.utils.progress import Stages
from openvino_eval.machine import LoadMeter


def main(arguments: Sequence[str] | None = None) -> None:
    """Parses the command line, measures and prints."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_config(parser)
    parser.add_argument("--policies", type=int, default=20)
    parser.add_argument("--precision", choices=("f32", "bf16"), default="f32")
    parser.add_argument("--seconds", type=float, default=1.0, help="for each policy, interleaved with the int8 model")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--refresh", action="store_true", help="measure the table again")
    parsed = parser.parse_args(arguments)
    with errors_as_messages(parser):
        check_precision(parsed.precision, "--precision")
        job = read_job(parsed)
        compression, threads = job.config.compression, job.config.runtime.threads
        quantizable = find_layers(job.openvino_model(), compression.ignored_scopes, compression.activations.per_channel)
        fake_quantized = place_activation_quantizers(quantizable)
        meter = LoadMeter()
        with ConsoleProgress() as progress:
            table, _ = find_table(
                quantizable,
                threads,
                parsed.precision,
                Stages(progress),
                fake_quantized=fake_quantized,
                refresh=parsed.refresh,
            )
    models = LatencyModels(quantizable, fake_quantized)
    groups = list(quantizable.groups)
    int8 = models.build()
    random = np.random.default_rng([parsed.seed, 1])
    rows = []
    for index in range(parsed.policies):
        # From few float layers to nearly all of them.
        share = (index + 0.5) / parsed.policies
        chosen = [name for name in groups if random.random() < share]
        pair = {"int8": int8, "policy": models.build(chosen)}
        measured_ratio = measure_ratio(pair, "int8", threads, parsed.precision, parsed.seconds)["policy"]
        linear = table.upper_bound(chosen) / table.int8_ms
        rows.append((len(chosen), table.predict(chosen) / table.int8_ms, measured_ratio, linear))
        print(f"policy {index + 1} of {parsed.policies}", file=sys.stderr, flush=True)
    load = meter.read()
    shown = Table("float layers", "predicted", "measured", "error %", "bound")
    for count, predicted, measured, linear in rows:
        error = f"{100 * (predicted / measured - 1):+.1f}"
        shown.add_row(f"{count} of {len(groups)}", f"{predicted:.3f}", f"{measured:.3f}", error, f"{linear:.3f}")
    show(shown, width=100)
    _, predicted_ratios, measured_ratios, bounds = np.array(rows).T
    errors = np.abs(predicted_ratios / measured_ratios - 1)
    print(
        f"ratios to int8; error: mean {100 * errors.mean():.1f} %, largest {100 * errors.max():.1f} %; "
        f"Spearman {spearmanr(predicted_ratios, measured_ratios).statistic:.3f}; "
        f"bound that a budget counts: {100 * (bounds / measured_ratios - 1).mean():+.1f} % on average\n"
        f"{parsed.precision}, {threads} threads, int8 {table.int8_ms:.3f} ms, all in float {table.float_ms:.3f} ms; "
        f"other programs took {100 * load.others:.0f} % of the processor, load {load.load:.1f}"
    )


if __name__ == "__main__":
    main()
