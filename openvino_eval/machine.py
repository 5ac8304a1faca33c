"""How busy the machine was with other things while something was measured on it."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass

import psutil

NOISY_SHARE = 0.05
"""Other programs taking more than this share of the processor make a measurement noisy."""

NOISY_SPREAD = 0.1
"""Quartiles of the rounds further apart than this share of the median make it noisy too."""


@dataclass(frozen=True)
class MachineLoad:
    """Load of the machine by other programs.

    Attributes:
        others: Share of all processors' time, 0..1, that programs other than this one and those it started took, and
            the hypervisor for other machines.
        load: Processes that wanted to run, mean of the last minute, at the end; what was measured counts too.
        processors: Number of processors.
    """

    others: float
    load: float
    processors: int

    @property
    def is_noisy(self) -> bool:
        """Whether others took enough to matter."""
        return self.others > NOISY_SHARE

    def warnings(self) -> list[str]:
        """A sentence about a machine that is busy with other things; none where it is not."""
        if not self.is_noisy:
            return []
        return [
            f"other programs took {100 * self.others:.0f} % of the processor (load {self.load:.1f} on "
            f"{self.processors}): ratios are more reliable than times, and an idle machine is best for both"
        ]


def is_spread(low: float, median: float, high: float) -> bool:
    """Whether quartiles are so far apart that the median between them says little."""
    return high - low > NOISY_SPREAD * median


def spread_warnings(quartiles: Mapping[str, tuple[float, float, float]], what: str = "latency") -> list[str]:
    """A sentence about the models whose rounds differ so much that their median says little; none where none does.

    Args:
        quartiles: Name to the lower quartile, the median and the upper quartile over the rounds.
        what: Was measured.
    """
    noisy = [name for name, found in quartiles.items() if is_spread(*found)]
    if not noisy:
        return []
    return [
        f"{what}: the quartiles of the rounds are more than {100 * NOISY_SPREAD:.0f} % apart for {', '.join(noisy)}: "
        "use more rounds, or an idle machine"
    ]


class LoadMeter:
    """Measures the load from its making until it is read; programs that this one started count when they have ended."""

    def __init__(self) -> None:
        self._busy, self._total = _machine_seconds()
        self._own = _own_seconds()

    def read(self) -> MachineLoad:
        """The load since the meter was made."""
        busy, total = _machine_seconds()
        others = busy - self._busy - (_own_seconds() - self._own)
        return MachineLoad(
            others=min(max(others / max(total - self._total, 1e-9), 0.0), 1.0),
            load=psutil.getloadavg()[0],
            processors=os.cpu_count() or 1,
        )


def _machine_seconds() -> tuple[float, float]:
    """Seconds that all processors together were busy, and that passed for them."""
    times = psutil.cpu_times()._asdict()
    # Those of guests are in the others already.
    total = sum(value for name, value in times.items() if not name.startswith("guest"))
    return total - times["idle"] - times.get("iowait", 0.0), total


def _own_seconds() -> float:
    times = os.times()
    return times.user + times.system + times.children_user + times.children_system
