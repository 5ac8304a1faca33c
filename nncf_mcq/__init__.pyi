from nncf_mcq import precision_init, range_init
from nncf_mcq.api import pareto, prepare_training, quantize
from nncf_mcq.config.budget import Budget
from nncf_mcq.config.overrides import parse_overrides
from nncf_mcq.config.schema import Config, json_schema, load_config
from nncf_mcq.data import datasets
from nncf_mcq.data.datasets import DATASETS
from nncf_mcq.data.distilled import distilled_dataset
from nncf_mcq.data.job_source import JobSource
from nncf_mcq.errors import (
    BudgetError,
    ConfigError,
    NncfMcqError,
    OutputError,
    QuantizationError,
    VerificationError,
)
from nncf_mcq.job import Job
from nncf_mcq.model.algorithm import MixedClippingQuantization
from nncf_mcq.pareto_front import ParetoFront
from nncf_mcq.policy import FLOAT_CHOICE, Policy, PolicyKey
from nncf_mcq.precision_init.builtin import PRECISION_INITIALIZERS
from nncf_mcq.range_init.activation.base import ACTIVATION_RANGE_INITIALIZERS
from nncf_mcq.range_init.base import RANGE_INITIALIZERS
from nncf_mcq.result import QuantizationResult, versions
from nncf_mcq.training import TrainingModule, finish_training
from nncf_mcq.training.tuning import TUNINGS

__all__ = [
    "ACTIVATION_RANGE_INITIALIZERS",
    "DATASETS",
    "FLOAT_CHOICE",
    "PRECISION_INITIALIZERS",
    "RANGE_INITIALIZERS",
    "TUNINGS",
    "Budget",
    "BudgetError",
    "Config",
    "ConfigError",
    "Job",
    "JobSource",
    "MixedClippingQuantization",
    "NncfMcqError",
    "OutputError",
    "ParetoFront",
    "Policy",
    "PolicyKey",
    "QuantizationError",
    "QuantizationResult",
    "TrainingModule",
    "VerificationError",
    "datasets",
    "distilled_dataset",
    "finish_training",
    "json_schema",
    "load_config",
    "pareto",
    "parse_overrides",
    "precision_init",
    "prepare_training",
    "quantize",
    "range_init",
    "versions",
]
