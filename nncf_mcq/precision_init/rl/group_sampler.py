"""Base of the agents: an Optuna sampler whose trial is an episode over the groups of a problem."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from typing import Any

from optuna import Study
from optuna.distributions import BaseDistribution
from optuna.samplers import BaseSampler, RandomSampler
from optuna.trial import FrozenTrial

from nncf_mcq.precision_init.search import SearchProblem


class GroupSampler(BaseSampler):
    """Proposes the widths of all groups at once; what is no group of the problem is sampled at random.

    Only for studies with a single objective. A subclass draws the episodes from the study and the trial's number.

    Args:
        problem: The groups and their widths.
        seed: Of all randomness.
    """

    def __init__(self, problem: SearchProblem, seed: int) -> None:
        self._space = problem.space
        self._distributions = problem.space.distributions
        self._seed = seed
        self._random = RandomSampler(seed=seed)

    @abstractmethod
    def propose(self, study: Study, trial: FrozenTrial) -> Sequence[int]:
        """The index of each group's width."""

    def reseed_rng(self) -> None:
        """Only what is sampled independently: the randomness of an episode comes from its number."""
        self._random.reseed_rng()

    def infer_relative_search_space(self, study: Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        """All groups.

        Raises:
            ValueError: The study has several objectives.
        """
        self._check_single_objective(study)
        return dict(self._distributions)

    def sample_relative(
        self, study: Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        """An episode: the index of each group's width; random values for any space but that of the problem.

        Raises:
            ValueError: The study has several objectives.
        """
        self._check_single_objective(study)
        if search_space != self._distributions:
            return {
                name: self._random.sample_independent(study, trial, name, distribution)
                for name, distribution in search_space.items()
            }
        return dict(zip(self._space.groups, self.propose(study, trial), strict=True))

    def sample_independent(
        self, study: Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        """A random value of a parameter that is no group of the problem.

        Raises:
            ValueError: The study has several objectives.
        """
        self._check_single_objective(study)
        return self._random.sample_independent(study, trial, param_name, param_distribution)

    def _check_single_objective(self, study: Study) -> None:
        if len(study.directions) > 1:
            raise ValueError(f"the study has several objectives, {type(self).__name__} needs one")
