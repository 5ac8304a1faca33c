"""What the sweep is to show, and the networks that miss it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from benchmarks.sweep.record import NNCF, FileRecord, NetworkRecord

LARGEST_LOSS: Final = 1.0
"""Decibels below NNCF INT8."""

LARGEST_SIZE: Final = 1.02
"""Bytes at 8 bits over those of NNCF INT8."""


@dataclass(frozen=True)
class Aim:
    """One aim and the networks that miss it.

    Attributes:
        text: The aim.
        networks: Number of networks.
        missed: Names of those that miss it.
    """

    text: str
    networks: int
    missed: tuple[str, ...]

    def __str__(self) -> str:
        names = f"; not {', '.join(self.missed)}" if self.missed else ""
        return f"{self.text}: {self.networks - len(self.missed)} of {self.networks}{names}"


def aims(records: Sequence[NetworkRecord]) -> list[Aim]:
    """Each aim and how many networks reach it; one that could not be measured misses all."""
    checks: dict[str, Callable[[NetworkRecord], bool]] = {
        "saved and verified at 8 bits and at an average of 4": _is_verified,
        "no fewer int8 layers than NNCF INT8": _has_integer_layers,
        f"every output at 8 bits at most {LARGEST_LOSS:g} dB below NNCF INT8": _is_faithful,
        f"at most {LARGEST_SIZE:g} times the bytes of NNCF INT8 at 8 bits": _is_small,
    }
    return [
        Aim(text, len(records), tuple(record.name for record in records if not reaches(record)))
        for text, reaches in checks.items()
    ]


def _is_verified(record: NetworkRecord) -> bool:
    return len(record.runs) == 2 and all(run.verified for run in record.runs.values())


def _has_integer_layers(record: NetworkRecord) -> bool:
    return _beside_nncf(record, lambda own, nncf: own.integer_layers >= nncf.integer_layers, ("8", "4"))


def _is_faithful(record: NetworkRecord) -> bool:
    return _beside_nncf(
        record,
        lambda own, nncf: all(
            found >= expected - LARGEST_LOSS
            for found, expected in zip(own.signal_to_noise, nncf.signal_to_noise, strict=True)
        ),
    )


def _is_small(record: NetworkRecord) -> bool:
    return _beside_nncf(record, lambda own, nncf: own.bin_bytes <= LARGEST_SIZE * nncf.bin_bytes)


def _beside_nncf(
    record: NetworkRecord, holds: Callable[[FileRecord, FileRecord], bool], names: Sequence[str] = ("8",)
) -> bool:
    files: dict[str, FileRecord] = {**record.files}
    return NNCF in files and all(name in files and holds(files[name], files[NNCF]) for name in names)
