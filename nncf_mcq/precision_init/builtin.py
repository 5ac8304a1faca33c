"""The precision initializers of this package: to import this is to register them."""

from nncf_mcq.precision_init.base import PRECISION_INITIALIZERS
from nncf_mcq.precision_init.greedy import GreedyPrecision
from nncf_mcq.precision_init.ilp import IlpPrecision
from nncf_mcq.precision_init.manual import ManualPrecision
from nncf_mcq.precision_init.optuna_samplers import OptunaPrecision
from nncf_mcq.precision_init.rl import RlPrecision
from nncf_mcq.precision_init.uniform import UniformPrecision

__all__ = [
    "PRECISION_INITIALIZERS",
    "GreedyPrecision",
    "IlpPrecision",
    "ManualPrecision",
    "OptunaPrecision",
    "RlPrecision",
    "UniformPrecision",
]
