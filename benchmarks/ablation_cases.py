"""Cases of the ablation: uniform bit-widths, with one choice of rule, rounding and correction each."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from nncf_mcq.range_init.base import RANGE_INITIALIZERS
from nncf_mcq.weights.scheme import WeightScheme

Granularity = Literal["channel", "tensor"]

GRANULARITIES: tuple[Granularity, ...] = ("channel", "tensor")
BITS = (8, 6, 5, 4, 3, 2)

MIXED = "mixed_clipping"
RULES: dict[str, dict[str, Any]] = {
    "max": {"type": "max"},
    "percentile": {"type": "percentile"},
    "mse": {"type": "mse"},
    "mae": {"type": "mae"},
    "kl": {"type": "kl"},
    "aciq_laplace": {"type": "aciq", "distribution": "laplace"},
    "aciq_gauss": {"type": "aciq", "distribution": "gauss"},
    "output_mse": {"type": "output_mse"},
    "hessian": {"type": "hessian"},
    MIXED: {"type": MIXED},
}
"""Name in the report to the parameters; what is not given here has its default."""

NEAREST, COMPENSATED, DESCENT = "nearest", "error_compensated", "coordinate_descent"
ROUNDINGS = (NEAREST, COMPENSATED, DESCENT)
ADAROUND = "adaround"
"""Levels of `benchmarks.adaround` on the grids that mixed clipping chose."""
SEQUENTIAL = "sequential"
"""coordinate_descent, and then the sequential pass over the policy."""

ROUNDING_NAMES = {
    NEAREST: "nearest",
    COMPENSATED: "error_compensated",
    DESCENT: "coordinate_descent",
    ADAROUND: "AdaRound",
    SEQUENTIAL: "+ sequential pass",
}
"""In tables and charts."""

DEFAULT_CORRECTION = "bias+energy"
CORRECTIONS: dict[str, dict[str, Any]] = {
    "none": {"bias": False, "gain": "none"},
    "bias": {"bias": True, "gain": "none"},
    "gain": {"bias": False, "gain": "energy"},
    "bias+regression": {"bias": True, "gain": "regression"},
    DEFAULT_CORRECTION: {"bias": True, "gain": "energy"},
}

CORRECTION_RULES = ("max", "mse", MIXED)
CORRECTION_ROUNDINGS = (NEAREST, DESCENT)
ADAROUND_BITS = (4, 3, 2)


@dataclass(frozen=True)
class Case:
    """One row of the ablation: every layer at `bits` bits.

    Attributes:
        bits: Width of all weights.
        granularity: One scale per output channel, or one per tensor.
        rule: Key of `RULES`.
        rounding: One of `ROUNDINGS`, or `ADAROUND` or `SEQUENTIAL`.
        correction: Key of `CORRECTIONS`.
    """

    bits: int
    granularity: Granularity
    rule: str
    rounding: str
    correction: str = DEFAULT_CORRECTION

    @property
    def key(self) -> str:
        """Key of the row."""
        return f"{self.bits}/{self.granularity}/{self.rule}/{self.rounding}/{self.correction}"

    def scheme(self, job: WeightScheme) -> WeightScheme:
        """The job's scheme with this case's granularity, clipping rule, rounding and correction."""
        # Both of the extra roundings start from a table of the package.
        rounding = {ADAROUND: COMPENSATED, SEQUENTIAL: DESCENT}.get(self.rounding, self.rounding)
        rule = RULES[self.rule]
        return WeightScheme(
            job.weights.model_copy(update={"coding": "uniform", "per_channel": self.granularity == "channel"}),
            job.correction.model_copy(update={"rounding": rounding, **CORRECTIONS[self.correction]}),
            RANGE_INITIALIZERS.create(RANGE_INITIALIZERS[rule["type"]].Parameters(**rule)),
        )


def make_cases(
    bits: Sequence[int],
    granularities: Sequence[Granularity],
    rules: Sequence[str],
    adaround_bits: Sequence[int] = ADAROUND_BITS,
) -> list[Case]:
    """All rows, in the order in which they are measured.

    Args:
        bits: Uniform widths.
        granularities: Scales per channel, per tensor, or both.
        rules: Keys of `RULES`.
        adaround_bits: Widths at which AdaRound is measured: it takes minutes.
    """
    found: list[Case] = []
    for granularity in granularities:
        for width in bits:
            found += [Case(width, granularity, rule, rounding) for rounding in ROUNDINGS for rule in rules]
            found += [
                Case(width, granularity, rule, rounding, correction)
                for rule in CORRECTION_RULES
                if rule in rules
                for rounding in CORRECTION_ROUNDINGS
                for correction in CORRECTIONS
                if correction != DEFAULT_CORRECTION
            ]
            if granularity == "channel" and MIXED in rules:
                found.append(Case(width, granularity, MIXED, SEQUENTIAL))
                if width in adaround_bits:
                    found.append(Case(width, granularity, MIXED, ADAROUND))
    return found
