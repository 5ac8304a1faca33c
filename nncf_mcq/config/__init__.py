"""The configuration: its schema, registries, budgets and error messages."""

from nncf_mcq.config.catalog import baselines, find_config
from nncf_mcq.config.json_files import read_json
from nncf_mcq.config.output_files import (
    CONFIG_FILE,
    HISTOGRAM_FILE,
    MODEL_FILE,
    RESULT_FILE,
    UNVERIFIED_MODEL_FILE,
    FloatWeight,
    Histograms,
    LayerHistogram,
    LayerResult,
    ModelFile,
    RunResult,
)
from nncf_mcq.config.paths import BUDGET_PATH, PRECISION_PATH
from nncf_mcq.config.quality_report import QualityReport
from nncf_mcq.config.registry import load_plugins
from nncf_mcq.config.schema import load_config

__all__ = [
    "BUDGET_PATH",
    "CONFIG_FILE",
    "HISTOGRAM_FILE",
    "MODEL_FILE",
    "PRECISION_PATH",
    "RESULT_FILE",
    "UNVERIFIED_MODEL_FILE",
    "FloatWeight",
    "Histograms",
    "LayerHistogram",
    "LayerResult",
    "ModelFile",
    "QualityReport",
    "RunResult",
    "baselines",
    "find_config",
    "load_config",
    "load_plugins",
    "read_json",
]
