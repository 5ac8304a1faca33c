"""Optuna's samplers by the names of the JSON."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, get_args

from optuna import samplers

SamplerName = Literal["tpe", "gp", "cmaes", "nsgaii", "qmc", "random"]
SAMPLER_NAMES: tuple[SamplerName, ...] = get_args(SamplerName)

_GENERATIONS = 10
_SMALLEST_POPULATION, _LARGEST_POPULATION = 8, 50


def make_sampler(
    name: SamplerName, seed: int, trials: int, start: Mapping[str, int] | None = None
) -> samplers.BaseSampler:
    """A sampler with Optuna's defaults, but for what is said below.

    - tpe: Bergstra et al., "Algorithms for Hyper-Parameter Optimization", NeurIPS 2011; the multivariate kernel is
      that of Falkner, Klein and Hutter, "BOHB", ICML 2018.
    - gp: a Gaussian process with the logarithm of the expected improvement of Ament et al., "Unexpected Improvements to
      Expected Improvement for Bayesian Optimization", NeurIPS 2023.
    - cmaes: Hamano et al., "CMA-ES with Margin", GECCO 2022, which keeps the variance of integers from vanishing.
    - nsgaii: Deb et al., "A Fast and Elitist Multiobjective Genetic Algorithm: NSGA-II", IEEE Transactions on
      Evolutionary Computation 6(2), 2002. The population is a tenth of the trials, 8 to 50: with Optuna's 50 a search
      of 200 trials would see four generations.
    - qmc: scrambled Sobol points; Bergstra and Bengio, "Random Search for Hyper-Parameter Optimization", JMLR 13, 2012.
    - random: each width alike, the same paper.

    Args:
        name: Which.
        seed: Of all of the sampler's randomness.
        trials: How many trials are expected.
        start: Parameters that are enqueued as the first trial. The others learn from that trial; CMA-ES learns only
            from its own proposals and starts from there instead.
    """
    match name:
        case "tpe":
            return samplers.TPESampler(seed=seed)
        case "gp":
            return samplers.GPSampler(seed=seed)
        case "cmaes":
            first = None if start is None else dict(start)
            return samplers.CmaEsSampler(x0=first, seed=seed, with_margin=True, warn_independent_sampling=False)
        case "nsgaii":
            population = min(max(trials // _GENERATIONS, _SMALLEST_POPULATION), _LARGEST_POPULATION)
            return samplers.NSGAIISampler(seed=seed, population_size=population)
        case "qmc":
            return samplers.QMCSampler(seed=seed, scramble=True, warn_independent_sampling=False)
        case "random":
            return samplers.RandomSampler(seed=seed)
