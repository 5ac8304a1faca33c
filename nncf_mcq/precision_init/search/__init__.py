"""The harness of every search by proposals: any Optuna sampler, the same space, repair, evaluator and budget."""

from nncf_mcq.precision_init.search.initializer import SearchInitializer, SearchProblem
from nncf_mcq.precision_init.search.processes import POLICY_ATTRIBUTE
from nncf_mcq.precision_init.search.repair import Repair, predicted_losses
from nncf_mcq.precision_init.search.space import SearchSpace
from nncf_mcq.precision_init.search.study import SearchOutcome, run_search
from nncf_mcq.precision_init.study import quiet_optuna

__all__ = [
    "POLICY_ATTRIBUTE",
    "Repair",
    "SearchInitializer",
    "SearchOutcome",
    "SearchProblem",
    "SearchSpace",
    "predicted_losses",
    "quiet_optuna",
    "run_search",
]
