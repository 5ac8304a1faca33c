"""A goal in the place of a budget: the smallest policy that keeps it, with the confidence that is asked for."""

from nncf_mcq.precision_init.goal.quantities import Estimate, check_goal, check_outputs, find_quantity
from nncf_mcq.precision_init.goal.search import SmallestChoice, smallest_choice

__all__ = ["Estimate", "SmallestChoice", "check_goal", "check_outputs", "find_quantity", "smallest_choice"]
