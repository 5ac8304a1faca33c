from openvino_eval.contest.contest import RESULT_FILES, run_contest, summary_table
from openvino_eval.contest.interruption import ContestInterrupted, interruptible
from openvino_eval.contest.methods import METHODS, Arm, parse_arms, parse_methods
from openvino_eval.contest.record import RunStore
from openvino_eval.contest.settings import ContestSettings
from openvino_eval.contest.standings import Standing, rank, verdict

__all__ = [
    "METHODS",
    "RESULT_FILES",
    "Arm",
    "ContestInterrupted",
    "ContestSettings",
    "RunStore",
    "Standing",
    "interruptible",
    "parse_arms",
    "parse_methods",
    "rank",
    "run_contest",
    "summary_table",
    "verdict",
]
