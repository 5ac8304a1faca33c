"""Gain of each rule, rounding and correction of the weights, at uniform bit-widths: one row for each combination.

Rows are appended to DIR/ablation.json as they come; a second run continues where the first stopped. The report is
DIR/ablation.md and DIR/ablation.svg.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import openvino as ov
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from benchmarks import ablation_report
from benchmarks.ablation_cases import ADAROUND, ADAROUND_BITS, BITS, GRANULARITIES, RULES, SEQUENTIAL, Case, make_cases
from benchmarks.adaround import adaround_table
from benchmarks.command import add_config, read_job
from nncf_mcq.errors import ConfigError, NncfMcqError
from nncf_mcq.job import Job
from nncf_mcq.metrics.metrics import agreement, kl_divergence, top1
from nncf_mcq.model import ModelRunner
from nncf_mcq.model.int8 import nncf_int8
from nncf_mcq.policy import Policy
from nncf_mcq.utils.files import write_text_atomically
from nncf_mcq.utils.progress import SilentProgress, Stages

RESULT_FILE = "ablation.json"
_SMALLEST_ERROR = 1e-12


def main(arguments: Sequence[str] | None = None) -> None:
    """Parses the command line, measures what is missing and writes the report."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_config(parser)
    parser.add_argument("--output", type=Path, required=True, metavar="DIR", help="folder of the rows and the report")
    parser.add_argument("--bits", type=int, nargs="+", choices=range(2, 9), default=list(BITS), metavar="BITS")
    parser.add_argument("--granularity", nargs="+", choices=GRANULARITIES, default=list(GRANULARITIES))
    parser.add_argument("--rules", nargs="+", choices=list(RULES), default=list(RULES), metavar="RULE")
    parser.add_argument(
        "--adaround",
        type=int,
        nargs="*",
        choices=ADAROUND_BITS,
        default=list(ADAROUND_BITS),
        metavar="BITS",
        help="bit-widths at which AdaRound is measured; it takes minutes on a large network",
    )
    parser.add_argument("--report-only", action="store_true", help="measure nothing, write the report again")
    parsed = parser.parse_args(arguments)
    console = Console(highlight=False, soft_wrap=True)
    try:
        job = read_job(parsed)
        store = Store.read(parsed.output / RESULT_FILE, job)
        if not parsed.report_only:
            measure(job, make_cases(parsed.bits, parsed.granularity, parsed.rules, parsed.adaround), store, console)
        elif not store.data["rows"]:
            raise ConfigError("--output", str(parsed.output), f"a folder with the {RESULT_FILE} of an earlier run")
        paths = ablation_report.save(store.data, parsed.output)
    except NncfMcqError as error:
        parser.exit(2, f"error: {error}\n")
    except KeyboardInterrupt:
        parser.exit(130, "interrupted: repeat the command to continue with the next row\n")
    for path in paths:
        console.print(str(path))


class Store:
    """The rows measured so far, in a file that is whole at any time.

    Attributes:
        data: `config`, `setup`, `references` (the float model and NNCF's INT8) and `rows` by key.
    """

    def __init__(self, file: Path, data: dict[str, Any]) -> None:
        self.file = file
        self.data = data

    @classmethod
    def read(cls, file: Path, job: Job) -> Store:
        """The rows of an earlier run with the same configuration, or none.

        Raises:
            ConfigError: The file holds rows of another configuration.
        """
        config = job.config.to_dict()
        if not file.exists():
            return cls(file, {"config": config, "setup": {}, "references": {}, "rows": {}})
        data = json.loads(file.read_text(encoding="utf-8"))
        if data["config"] != config:
            raise ConfigError(
                "--output", str(file.parent), "a new folder: this one holds rows of another configuration"
            )
        return cls(file, data)

    def missing(self, cases: Sequence[Case]) -> list[Case]:
        """Cases without a row; one that failed is tried again."""
        rows = self.data["rows"]
        return [case for case in cases if case.key not in rows or "error" in rows[case.key]]

    def add(self, section: str, key: str, values: Mapping[str, Any]) -> None:
        """Files values and writes all."""
        self.data[section][key] = dict(values)
        write_text_atomically(self.file, json.dumps(self.data, indent=1) + "\n")


def measure(job: Job, cases: Sequence[Case], store: Store, console: Console) -> None:
    """Measures the cases that the store does not hold yet.

    Args:
        job: The configuration: model, images, activations.
        cases: What the store shall hold in the end.
        store: Holds the rows.
        console: Gets a line for each row, and the progress.
    """
    missing = store.missing(cases)
    console.print(f"{len(cases) - len(missing)} of {len(cases)} rows are in {store.file}")
    if not missing and "nncf_int8" in store.data["references"]:
        return
    console.print("preparing images and statistics")
    bench = Bench(job)
    store.data["setup"] |= bench.setup
    store.add("references", "float", bench.float_scores)
    if "nncf_int8" not in store.data["references"]:
        store.add("references", "nncf_int8", bench.measure_nncf_int8())
    columns = (BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), TextColumn("left:"), TimeRemainingColumn())
    # Rows differ by a factor of hundreds in time: the speed is that of the last hour, not of the last seconds.
    with Progress(*columns, console=console, speed_estimate_period=3600) as progress:
        task = progress.add_task("rows", total=len(missing))
        for case in missing:
            values = bench.measure(case)
            store.add("rows", case.key, values)
            progress.console.print(f"{case.key:<55} {_in_words(values)}")
            progress.advance(task)


class Bench:
    """The model with its statistics and the test images; measures one case after another.

    Args:
        job: The configuration.
    """

    def __init__(self, job: Job) -> None:
        splits = job.load_dataset()
        model = job.openvino_model()
        self.runtime, self.ignored_scopes = job.config.runtime, job.config.compression.ignored_scopes
        # Only the rule, the granularity and the corrections change from case to case: one calibrated model serves all.
        self.calibrated = job.calibrate(model, splits, Stages(SilentProgress()))
        images, targets = zip(*(splits.report[index] for index in range(len(splits.report))), strict=True)
        self.images = np.stack(images)
        self.targets = np.array(targets) if splits.has_targets else None
        self.reference = self._outputs(model)
        quantizable = self.calibrated.quantizable
        self.setup = {
            "layers": len(quantizable.layers),
            "weights": quantizable.quantizable_weights,
            "calibration_images": len(self.calibrated.calibration),
            "report_images": len(self.images),
            "activation_bits": job.config.compression.activations.bits,
            "threads": self.runtime.threads,
            "cpus": os.cpu_count(),
        }

    @property
    def float_scores(self) -> dict[str, float]:
        """Top-1 of the float model, where there are labels."""
        return {} if self.targets is None else {"top1": top1(self.reference, self.targets)}

    def measure(self, case: Case) -> dict[str, Any]:
        """The row of a case; what the package refuses yields a row with the message."""
        row: dict[str, Any] = {
            "bits": case.bits,
            "granularity": case.granularity,
            "rule": case.rule,
            "rounding": case.rounding,
            "correction": case.correction,
        }
        try:
            return row | self._measure(case)
        except NncfMcqError as error:
            return row | {"error": str(error)}

    def measure_nncf_int8(self) -> dict[str, float]:
        """Scores of NNCF's own INT8 from the same calibration images."""
        start = time.perf_counter()
        calibrated = self.calibrated
        model = nncf_int8(calibrated.quantizable.model, calibrated.calibration, self.ignored_scopes)
        return self._scores(model) | {"seconds": time.perf_counter() - start}

    def _measure(self, case: Case) -> dict[str, float]:
        calibrated = dataclasses.replace(self.calibrated, scheme=case.scheme(self.calibrated.scheme))
        policy = Policy({layer.name: case.bits for layer in calibrated.quantizable.layers}, calibrated.activation_bits)
        stages = Stages(SilentProgress())
        start = time.perf_counter()
        table = calibrated.weight_table((case.bits,), stages)
        if case.rounding == ADAROUND:
            table = adaround_table(calibrated, table)
        elif case.rounding == SEQUENTIAL:
            table = calibrated.requantize_sequentially(policy, table, stages)
        # The Fisher information is collected once, whichever case needs it first.
        fisher = sum(seconds for name, seconds in stages.seconds.items() if name.startswith("fisher"))
        seconds = time.perf_counter() - start - fisher
        errors = [table[name, case.bits].relative_error for name in table.entries]
        error = float(np.exp(np.log(np.maximum(errors, _SMALLEST_ERROR)).mean()))
        return self._scores(calibrated.build(policy, table)) | {"relative_error": error, "seconds": seconds}

    def _scores(self, model: ov.Model) -> dict[str, float]:
        outputs = self._outputs(model)
        scores = {} if self.targets is None else {"top1": top1(outputs, self.targets)}
        return scores | {
            "agreement": agreement(outputs, self.reference),
            "kl": kl_divergence(outputs, self.reference),
        }

    def _outputs(self, model: ov.Model) -> np.ndarray[Any, np.dtype[np.float32]]:
        runner = ModelRunner.compile(model, self.runtime.threads, batch_size=self.runtime.batch_size)
        outputs, *_ = runner([self.images])
        return outputs


def _in_words(row: Mapping[str, Any]) -> str:
    if "error" in row:
        return f"failed: {row['error']}"
    top = f"top-1 {100 * row['top1']:.2f}  " if "top1" in row else ""
    return f"{top}agree {100 * row['agreement']:.2f}  KL {row['kl']:.5f}  {row['seconds']:.1f} s"


if __name__ == "__main__":
    main()
