"""Peak memory of this process."""

from __future__ import annotations

import ctypes
import gc
import resource
import sys
from pathlib import Path


def reset_peak() -> bool:
    """Lets the peak start again at what is used now; False where the system cannot.

    What is free goes back to the system first, and Linux forgets the peak when told to.
    """
    gc.collect()
    try:
        ctypes.CDLL(None).malloc_trim(0)
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
    except (OSError, AttributeError):
        return False
    return True


def peak_megabytes() -> float:
    """The largest resident memory since the last reset, or ever.

    On Linux not from getrusage: there a process that was started by a large one begins with that one's peak.
    """
    status = Path("/proc/self/status")
    if status.is_file():
        for line in status.read_text(encoding="ascii").splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) / 1024
    usage = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return usage / (1 << 20 if sys.platform == "darwin" else 1 << 10)
