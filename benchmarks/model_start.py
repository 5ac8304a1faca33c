"""Prints what one start of a model costs, in a process that imports nothing else: time and memory."""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

import numpy as np
import openvino as ov

from benchmarks.memory import peak_megabytes, reset_peak


def main() -> None:
    """Arguments: the .xml file, and the properties of the CPU as JSON."""
    xml, properties = sys.argv[1], json.loads(sys.argv[2])
    core = ov.Core()
    core.get_property("CPU", "FULL_DEVICE_NAME")
    reset_peak()
    before = resident_megabytes()
    # Of the processor: it is one thread that compiles, and other programs count less.
    began = time.process_time()
    compiled = core.compile_model(xml, "CPU", properties)
    seconds = time.process_time() - began
    peak = peak_megabytes() - before
    compiled(np.zeros(compiled.inputs[0].shape, np.float32))
    print(json.dumps({"seconds": seconds, "peak": peak, "resident": resident_megabytes() - before}))


def resident_megabytes() -> float:
    """Memory of this process, with what it has read of mapped files."""
    for line in Path("/proc/self/status").read_text(encoding="ascii").splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) / 1024
    raise SystemExit("resident memory: the system does not tell")


if __name__ == "__main__":
    main()
