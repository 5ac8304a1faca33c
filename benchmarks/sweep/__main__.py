"""Quantizes many networks at 8 bits, at an average of 4, and with `nncf.quantize`, and compares them.

Each network is measured in a process of its own and has a record, DIR/NAME.json. A second run goes on where the first
stopped and tries again what failed. The tables are written to DIR/sweep.md.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import torch

from benchmarks.sweep.aims import aims
from benchmarks.sweep.measure import measure_network
from benchmarks.sweep.networks import NETWORKS
from benchmarks.sweep.record import NetworkRecord, Settings, SweepError, read_record
from benchmarks.sweep.runner import is_done, run_network
from benchmarks.sweep.tables import to_markdown
from nncf_mcq.errors import NncfMcqError
from nncf_mcq.utils.files import write_text_atomically

PAGE = "sweep.md"
LIMIT = 600.0


def main(arguments: Sequence[str] | None = None) -> None:
    """Parses the command line, measures and writes the tables."""
    defaults = Settings()
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.sweep", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--output", type=Path, required=True, metavar="DIR", help="folder of the records")
    parser.add_argument(
        "--networks", nargs="+", choices=list(NETWORKS), metavar="NAME", help="measure these; all by default"
    )
    parser.add_argument(
        "--precision", default=defaults.precision, help="precision initializer for an average of 4 bits"
    )
    parser.add_argument("--threads", type=int, default=defaults.threads, help="of OpenVINO and PyTorch")
    parser.add_argument("--limit", type=float, default=LIMIT, metavar="SECONDS", help="longest time of a network")
    parser.add_argument("--report-only", action="store_true", help="only write the tables of the records there are")
    parser.add_argument("--measure", choices=list(NETWORKS), help=argparse.SUPPRESS)
    parser.add_argument("--settings", help=argparse.SUPPRESS)
    parsed = parser.parse_args(arguments)
    if parsed.measure:
        _measure(parsed.measure, Settings.model_validate_json(parsed.settings), parsed.output)
        return
    settings = defaults.model_copy(update={"precision": parsed.precision, "threads": parsed.threads})
    names: list[str] = parsed.networks or list(NETWORKS)
    try:
        parsed.output.mkdir(parents=True, exist_ok=True)
        if not parsed.report_only:
            sweep(names, settings, parsed.output, parsed.limit)
        write_page(names, parsed.output)
    except NncfMcqError as error:
        parser.exit(2, f"error: {error}\n")
    except OSError as error:
        parser.exit(2, f"error: {parsed.output}: {error.strerror or error}\n")
    except KeyboardInterrupt:
        parser.exit(130, "interrupted: the records so far are kept, repeat the command to go on\n")


def sweep(names: Sequence[str], settings: Settings, folder: Path, limit: float) -> None:
    """Measures the networks that have no record yet, one after another.

    Args:
        names: Of the networks.
        settings: How they are measured.
        folder: Of the records.
        limit: Seconds after which a network is given up.

    Raises:
        SweepError: There are records that were measured with other settings.
    """
    known = {name: read_record(folder, name, settings) for name in names}
    for number, name in enumerate(names, 1):
        record, start = known[name], time.perf_counter()
        if record is None or not is_done(record):
            record = run_network(name, settings, folder, limit)
        seconds = time.perf_counter() - start
        print(f"[{number}/{len(names)}] {name}: {_summary(record)}, {seconds:.0f} s", file=sys.stderr, flush=True)


def write_page(names: Sequence[str], folder: Path) -> Path:
    """Writes the tables of all records that there are, and prints them.

    Raises:
        SweepError: There is no record.
    """
    records = [record for name in names if (record := read_record(folder, name)) is not None]
    if not records:
        raise SweepError(f"{folder}: no records of the networks")
    text = to_markdown([NETWORKS[record.name] for record in records], records)
    write_text_atomically(folder / PAGE, text)
    print(text)
    return folder / PAGE


def _measure(name: str, settings: Settings, folder: Path) -> None:
    """What the process of a network does."""
    torch.set_num_threads(settings.threads)
    with tempfile.TemporaryDirectory(prefix=f".{name}.", dir=folder) as temporary:
        measure_network(NETWORKS[name], settings, Path(temporary)).save(folder)


def _summary(record: NetworkRecord) -> str:
    if record.errors:
        return "; ".join(f"{model}: {reason}" for model, reason in record.errors.items())
    missed = [aim.text for aim in aims([record]) if aim.missed]
    return "misses " + "; ".join(missed) if missed else "ok"


if __name__ == "__main__":
    main()
