from nncf_mcq.config.budget import BudgetedParameters
from nncf_mcq.precision_init.base import PrecisionInitializer, PrecisionResult, PrecisionTask
from nncf_mcq.precision_init.costs import Constraint
from nncf_mcq.precision_init.estimate import Difference, ImageScores, from_text, mean_score, paired_difference, to_text
from nncf_mcq.precision_init.greedy import GreedyPrecision
from nncf_mcq.precision_init.ilp import IlpPrecision
from nncf_mcq.precision_init.manual import ManualPrecision
from nncf_mcq.precision_init.optuna_samplers import OptunaPrecision
from nncf_mcq.precision_init.rl import RlPrecision, RLSampler
from nncf_mcq.precision_init.search import SearchInitializer, SearchProblem
from nncf_mcq.precision_init.sensitivity import affordable_widths, count_sensitivity_passes
from nncf_mcq.precision_init.uniform import UniformPrecision

__all__ = [
    "BudgetedParameters",
    "Constraint",
    "Difference",
    "GreedyPrecision",
    "IlpPrecision",
    "ImageScores",
    "ManualPrecision",
    "OptunaPrecision",
    "PrecisionInitializer",
    "PrecisionResult",
    "PrecisionTask",
    "RLSampler",
    "RlPrecision",
    "SearchInitializer",
    "SearchProblem",
    "UniformPrecision",
    "affordable_widths",
    "count_sensitivity_passes",
    "from_text",
    "mean_score",
    "paired_difference",
    "to_text",
]
