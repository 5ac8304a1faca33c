"""Mixed-precision quantization of convolutional networks for OpenVINO, as a plugin for NNCF."""

from nncf_mcq import precision_init, range_init
from nncf_mcq.algorithm import MixedClippingQuantization
from nncf_mcq.api import quantize
from nncf_mcq.config import Config, json_schema, load_config
from nncf_mcq.errors import BudgetError, ConfigError, NncfMcqError, QuantizationError, VerificationError
from nncf_mcq.policy import Budget, Policy
from nncf_mcq.registry import ACTIVATION_RANGE_INITIALIZERS, PRECISION_INITIALIZERS, RANGE_INITIALIZERS
from nncf_mcq.result import QuantizationResult
from nncf_mcq.task import datasets
from nncf_mcq.task.distilled import distilled_dataset

__all__ = [
    "ACTIVATION_RANGE_INITIALIZERS",
    "PRECISION_INITIALIZERS",
    "RANGE_INITIALIZERS",
    "Budget",
    "BudgetError",
    "Config",
    "ConfigError",
    "MixedClippingQuantization",
    "NncfMcqError",
    "Policy",
    "QuantizationError",
    "QuantizationResult",
    "VerificationError",
    "datasets",
    "distilled_dataset",
    "json_schema",
    "load_config",
    "precision_init",
    "quantize",
    "range_init",
]
