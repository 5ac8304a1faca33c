"""The configuration: its schema, registries, budgets and error messages."""

from nncf_mcq.config.catalog import find_config
from nncf_mcq.config.paths import BUDGET_PATH, PRECISION_PATH
from nncf_mcq.config.registry import load_plugins

__all__ = ["BUDGET_PATH", "PRECISION_PATH", "find_config", "load_plugins"]
