"""Record of a run."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from pydantic import BaseModel, ConfigDict, ValidationError

from nncf_mcq import Policy
from nncf_mcq.precision_init import ImageScores, from_text
from nncf_mcq.utils import write_text_atomically
from openvino_eval.contest.methods import Arm, Competitor, ContestRun
from openvino_eval.errors import EvaluationError

RUNS_FOLDER: Final = "runs"


class RunRecord(BaseModel):
    """One finished search.

    Attributes:
        parameters: Of the precision initializer.
        evaluations: Unique policies that it had scored, sensitivities included.
        score: Of the policy that it returned.
        average_bits: Of the policy's weights.
        policy: The policy.
        curve: (evaluations so far, best score so far) at the first policy that keeps the budget and whenever a better
            one was scored.
        own_seconds: Time that it took beside the scoring.
        scoring_seconds: Time that scoring its policies takes, whoever scored them.
        details: What the initializer says of its search.
        report: Metrics of the policy on the test images, by name; None before they are measured.
        float_report: Those of the float model, where they have a meaning.
        image_passes: Images that went through quantized models for the evaluations.
        test_scores: The score's value for each test image, see `test_values`; None before it is measured.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", ser_json_inf_nan="constants")

    parameters: dict[str, object]
    evaluations: int
    score: float
    average_bits: float
    policy: dict[str, dict[str, int | str]]
    curve: tuple[tuple[int, float], ...]
    own_seconds: float
    scoring_seconds: float
    details: dict[str, object]
    report: dict[str, float] | None = None
    float_report: dict[str, float] | None = None
    image_passes: int | None = None
    test_scores: str | None = None

    @property
    def wall_seconds(self) -> float:
        """How long the run takes alone, with nothing known."""
        return self.own_seconds + self.scoring_seconds

    @property
    def test_values(self) -> ImageScores | None:
        """(N,) values of the test images, of which the mean is the score on images in no search."""
        return None if self.test_scores is None else from_text(self.test_scores)

    @property
    def found_policy(self) -> Policy:
        """The policy that it returned."""
        return Policy.from_dict(self.policy)

    def best_after(self, evaluations: int) -> float:
        """Best score of a policy that keeps the budget after so many evaluations; infinite before there is one."""
        return min((score for count, score in self.curve if count <= evaluations), default=math.inf)

    def evaluations_to(self, score: float) -> float:
        """Evaluations until the best score was at most this; infinite if it never was."""
        return min((float(count) for count, best in self.curve if best <= score), default=math.inf)


class RunStore:
    """The finished runs of a folder.

    Args:
        output: The contest's folder.
    """

    def __init__(self, output: Path) -> None:
        self._folder = output / RUNS_FOLDER

    def load(self, run: ContestRun, parameters: Mapping[str, object]) -> RunRecord | None:
        """The record of a run, if it is finished.

        Args:
            run: Which.
            parameters: With which; a run with others, e.g. defaults of an earlier version, has to be repeated.

        Raises:
            EvaluationError: The file is no record.
        """
        path = self._path(run)
        if not path.is_file():
            return None
        try:
            record = RunRecord.model_validate_json(path.read_bytes())
        except ValidationError as error:
            raise EvaluationError(f"{path}: not a run of a contest: delete it to repeat the run") from error
        return record if record.parameters == parameters else None

    def load_all(self) -> dict[Competitor, dict[int, RunRecord]]:
        """Every finished run, by who searched and the seed.

        Raises:
            EvaluationError: A file is no record.
        """
        found: dict[Competitor, dict[int, RunRecord]] = {}
        for path in sorted(self._folder.glob("*-*.json")):
            method, *arm, seed = path.stem.split("-")
            try:
                competitor = Competitor(method, Arm(arm[0]) if arm else Arm.NONE)
                found.setdefault(competitor, {})[int(seed)] = RunRecord.model_validate_json(path.read_bytes())
            except ValueError as error:  # pydantic's are among them
                raise EvaluationError(f"{path}: not a run of a contest") from error
        return found

    def save(self, run: ContestRun, record: RunRecord) -> None:
        """Keeps a record.

        Raises:
            EvaluationError: It cannot be written.
        """
        path = self._path(run)
        try:
            write_text_atomically(path, record.model_dump_json(indent=2) + "\n")
        except OSError as error:
            raise EvaluationError(f"{path}: cannot be written: {error.strerror}") from error

    def _path(self, run: ContestRun) -> Path:
        return self._folder / f"{run.name}.json"
