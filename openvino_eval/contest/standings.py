"""Who is how good: medians and quartiles over the seeds, evaluations to the best rival's score, the verdict."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from nncf_mcq.precision_init import Difference, mean_score, paired_difference
from nncf_mcq.utils import JsonObject
from openvino_eval.contest.methods import METHODS, Competitor
from openvino_eval.contest.record import RunRecord


@dataclass(frozen=True)
class Spread:
    """Median and quartiles over the seeds; infinite where too few seeds have a value."""

    median: float
    low: float
    high: float

    @classmethod
    def of(cls, values: Sequence[float]) -> Spread:
        """Of values that may be infinite; NaN counts as infinite.

        Args:
            values: One a seed.
        """
        ordered = sorted(math.inf if math.isnan(value) else value for value in values)
        return cls(*(_quantile(ordered, share) for share in (0.5, 0.25, 0.75)))

    def to_dict(self) -> JsonObject:
        """JSON values."""
        return {"median": _finite(self.median), "quartiles": [_finite(self.low), _finite(self.high)]}


@dataclass(frozen=True)
class Standing:
    """One competitor.

    Attributes:
        competitor: Who.
        records: Finished runs by seed; at least one.
        seeds: How many runs there will be.
        rival: The best of the others, if another has finished a run.
        rival_score: Its median final score.
    """

    competitor: Competitor
    records: Mapping[int, RunRecord] = field(repr=False)
    seeds: int
    rival: Competitor | None = None
    rival_score: float = math.nan

    @property
    def final(self) -> Spread:
        """Scores of the policies returned."""
        return Spread.of([record.score for record in self.records.values()])

    @property
    def test_values(self) -> NDArray[np.floating] | None:
        """(N,) values of the test images, the mean of all seeds; None before every finished run has them."""
        values = [record.test_values for record in self.records.values()]
        known = [value for value in values if value is not None]
        # In float64: the mean of equal values is then that value.
        return np.mean(known, axis=0, dtype=np.float64) if known and len(known) == len(values) else None

    @property
    def test_score(self) -> float:
        """Score on the test images, which no search saw; infinite where it is not known."""
        values = self.test_values
        return math.inf if values is None else mean_score(values)

    @property
    def image_passes(self) -> float:
        """Median number of images that went through quantized models."""
        known = [record.image_passes for record in self.records.values() if record.image_passes is not None]
        return Spread.of(known).median if known else math.nan

    def test_difference(self, other: Standing) -> Difference | None:
        """By how much the test score is higher than another's, with the paired standard error over the images."""
        ours, theirs = self.test_values, other.test_values
        if ours is None or theirs is None or len(ours) != len(theirs):
            return None
        return paired_difference(ours, theirs)

    @property
    def complete(self) -> bool:
        """Whether all runs are finished."""
        return len(self.records) == self.seeds

    @property
    def evaluations(self) -> float:
        """Median number of evaluations used."""
        return Spread.of([record.evaluations for record in self.records.values()]).median

    @property
    def evaluations_to_rival(self) -> Sequence[float]:
        """Evaluations after which each seed was as good as the best rival's median; infinite if it never was."""
        if self.rival is None:
            return []
        return [record.evaluations_to(self.rival_score) for record in self.records.values()]

    @property
    def seeds_reaching(self) -> int:
        """How many seeds became as good as the best rival's median."""
        return sum(math.isfinite(count) for count in self.evaluations_to_rival)

    @property
    def wall_seconds(self) -> float:
        """Median time of a run alone."""
        return Spread.of([record.wall_seconds for record in self.records.values()]).median

    @property
    def sampler_share(self) -> float:
        """Share of that time that is not scoring."""
        own = sum(record.own_seconds for record in self.records.values())
        return own / max(sum(record.wall_seconds for record in self.records.values()), 1e-9)

    @property
    def report(self) -> dict[str, Spread]:
        """Metrics on the test images, of the seeds that have them."""
        measured = [record.report for record in self.records.values() if record.report is not None]
        names = dict.fromkeys(name for metrics in measured for name in metrics)
        return {name: Spread.of([metrics[name] for metrics in measured if name in metrics]) for name in names}

    def score_after(self, evaluations: int) -> Spread:
        """Best scores of policies that keep the budget after so many evaluations."""
        return Spread.of([record.best_after(evaluations) for record in self.records.values()])

    def to_dict(self, checkpoints: Sequence[int]) -> JsonObject:
        """JSON values; what there is not is null.

        Args:
            checkpoints: Numbers of evaluations at which scores are given.
        """
        to_rival = self.evaluations_to_rival
        final = self.final.to_dict()
        return {
            "method": self.competitor.method,
            "arm": str(self.competitor.arm),
            "seeds": self.seeds,
            "finished": len(self.records),
            "test_score": _finite(self.test_score),
            "image_passes": _finite(self.image_passes),
            "median_final_score": final["median"],
            "quartiles": final["quartiles"],
            "scores": [_finite(record.score) for record in self.records.values()],
            "score_after": {str(count): self.score_after(count).to_dict() for count in checkpoints},
            "evaluations": self.evaluations,
            "best_rival": rival_record(self),
            "evaluations_to_best_rival": _finite(Spread.of(to_rival).median) if to_rival else None,
            "seeds_reaching": self.seeds_reaching,
            "report": {name: spread.to_dict() for name, spread in self.report.items()},
            "wall_seconds": round(self.wall_seconds, 3),
            "sampler_share": round(self.sampler_share, 4),
            "average_bits": [round(record.average_bits, 4) for record in self.records.values()],
        }


def rival_record(standing: Standing) -> JsonObject | None:
    """The best rival as JSON values."""
    if standing.rival is None:
        return None
    return {
        "method": standing.rival.method,
        "arm": str(standing.rival.arm),
        "median_final_score": _finite(standing.rival_score),
    }


def rank(records: Mapping[Competitor, Mapping[int, RunRecord]], seeds: int) -> list[Standing]:
    """The standings, in the order of the competitors.

    Args:
        records: Finished runs by competitor and seed; competitors without any are left out.
        seeds: Searches of each competitor that takes a seed.
    """
    found = [
        Standing(competitor, finished, seeds if METHODS[competitor.method].searches else 1)
        for competitor, finished in records.items()
        if finished
    ]
    return [_with_rival(standing, found) for standing in found]


def reference_method(standings: Sequence[Standing]) -> Standing | None:
    """Whom the verdict is about: RL where it takes part, otherwise the best."""
    for standing in standings:
        if standing.competitor.method == "rl":
            return standing
    return min(standings, key=lambda standing: standing.final.median, default=None)


def verdict(standings: Sequence[Standing]) -> str:
    """Who wins, in words; empty while there is nobody to compare.

    Args:
        standings: All of them.
    """
    ours = reference_method(standings)
    if ours is None or ours.rival is None:
        return ""
    theirs = next(standing for standing in standings if standing.competitor == ours.rival)
    begin = "" if all(standing.complete for standing in standings) else "So far: "
    score, other = ours.final.median, ours.rival_score
    if score == other:
        text = (
            f"{ours.competitor} and its best rival {theirs.competitor} tie: "
            f"both have the median final score {score:.4g}."
        )
    else:
        outcome, side = ("wins", "below") if score < other else ("loses", "above")
        share = f"{100 * abs(score / other - 1):.1f} % " if other > 0 and math.isfinite(score) else ""
        text = (
            f"{ours.competitor} {outcome}: its median final score {score:.4g} is {share}{side} the {other:.4g} of "
            f"{theirs.competitor}, its best rival."
        )
    spreads = (ours.final, theirs.final)
    if score != other and max(spread.low for spread in spreads) <= min(spread.high for spread in spreads):
        text += " Their quartiles overlap: the difference is within that of the seeds."
    reaching = ours.seeds_reaching
    text += f" {reaching} of {len(ours.records)} seeds reach the rival's score"
    median = Spread.of(ours.evaluations_to_rival).median
    text += f", the median seed after {median:.0f} evaluations." if math.isfinite(median) else "."
    return begin + _test_verdict(ours, standings) + "On the search images, " + text


def _test_verdict(ours: Standing, standings: Sequence[Standing]) -> str:
    """Who wins on images in no search; empty before they are measured."""
    others = [other for other in standings if other is not ours and math.isfinite(other.test_score)]
    best = min(others, key=lambda other: other.test_score, default=None)
    found = None if best is None else ours.test_difference(best)
    if best is None or found is None:
        return ""
    difference = f"{abs(found.mean):.2g} (standard error {found.error:.1g})"
    if found.mean == 0:
        outcome = f"ties with {best.competitor}"
    elif abs(found.mean) <= found.error:
        outcome = f"cannot be told from {best.competitor}: it is {difference} {'lower' if found.mean < 0 else 'higher'}"
    else:
        outcome = f"is {difference} {'lower' if found.mean < 0 else 'higher'} than that of {best.competitor}"
    return f"On the test images, the score of {ours.competitor}, {ours.test_score:.4g}, {outcome}. "


def _with_rival(standing: Standing, everyone: Sequence[Standing]) -> Standing:
    others = [other for other in everyone if other.competitor != standing.competitor]
    best = min(others, key=lambda other: other.final.median, default=None)
    if best is None:
        return standing
    return Standing(standing.competitor, standing.records, standing.seeds, best.competitor, best.final.median)


def _quantile(ordered: Sequence[float], share: float) -> float:
    """Linear interpolation that infinite values do not turn into NaN."""
    position = share * (len(ordered) - 1)
    index = math.floor(position)
    weight = position - index
    if weight == 0:
        return ordered[index]
    if math.isinf(ordered[index + 1]):
        return math.inf
    return ordered[index] + weight * (ordered[index + 1] - ordered[index])


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None
