"""The rows that the ablation measured, by case."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from benchmarks.ablation_cases import GRANULARITIES, MIXED, RULES, Case, Granularity

_SMALLEST_KL = 1e-9


class Rows:
    """The rows that were measured, by case.

    Args:
        data: What ablation.json holds.
    """

    def __init__(self, data: Mapping[str, Any]) -> None:
        self._rows: dict[str, Mapping[str, Any]] = {key: row for key, row in data["rows"].items() if "error" not in row}
        self.all = list(self._rows.values())
        self.failed = {key: row["error"] for key, row in data["rows"].items() if "error" in row}
        self.bits = sorted({row["bits"] for row in self.all}, reverse=True)
        self.granularities = [name for name in GRANULARITIES if any(row["granularity"] == name for row in self.all)]
        self.rules = [name for name in RULES if any(row["rule"] == name for row in self.all)]

    def get(self, case: Case) -> Mapping[str, Any] | None:
        """The row of a case, or None."""
        return self._rows.get(case.key)

    def kl(self, case: Case) -> float | None:
        """KL divergence to the float model, or None."""
        row = self.get(case)
        return None if row is None else max(row["kl"], _SMALLEST_KL)

    def ratio(self, case: Case, other: Case) -> float | None:
        """KL of a case relative to another's, or None."""
        first, second = self.kl(case), self.kl(other)
        return None if first is None or second is None else first / second

    def best_rule(self, bits: int, granularity: Granularity, rounding: str) -> str | None:
        """The single rule of least KL, or None where none was measured."""
        found = {
            rule: value
            for rule in self.rules
            if rule != MIXED and (value := self.kl(Case(bits, granularity, rule, rounding))) is not None
        }
        return min(found, key=found.__getitem__) if found else None
