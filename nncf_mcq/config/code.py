"""A configuration names Python code; one from somebody else should not."""

from __future__ import annotations

from nncf_mcq.config.model_reference import CODELESS_SUFFIXES
from nncf_mcq.config.schema import Config
from nncf_mcq.errors import ConfigError


def refuse_code(config: Config) -> None:
    """Refuses a configuration that would run code: of its own, or of an installed module that it names.

    The types of data sets, rules and initializers, metrics and scores are names of what is registered; a model is the
    only value that may be a callable.

    Args:
        config: The configuration.

    Raises:
        ConfigError: The model is no file that holds data alone.
    """
    if config.model is not None and not config.model.endswith(CODELESS_SUFFIXES):
        allowed = f"a file ({', '.join(CODELESS_SUFFIXES)}): --no-code runs no Python that a configuration names"
        raise ConfigError("model", config.model, allowed)
