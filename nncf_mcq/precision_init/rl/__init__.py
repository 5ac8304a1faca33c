"""Precision by reinforcement learning."""

from nncf_mcq.precision_init.rl.ddpg.algorithm import DdpgSampler
from nncf_mcq.precision_init.rl.initializer import RlPrecision
from nncf_mcq.precision_init.rl.sampler import RLSampler

__all__ = ["DdpgSampler", "RLSampler", "RlPrecision"]
