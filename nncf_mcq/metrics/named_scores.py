"""Scores by the names that a configuration gives them."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import TypeAlias, TypeVar

import numpy as np
from numpy.typing import NDArray

from nncf_mcq.errors import ConfigError
from nncf_mcq.metrics.scores import ImageScore, Score, get_score

Outputs: TypeAlias = NDArray[np.float32]
Result = TypeVar("Result")


def named_score(name: str) -> Score:
    """A registered score whose complaint about outputs names the configuration's key.

    Args:
        name: Of the score.
    """
    function = get_score(name)
    values = function.values if isinstance(function, ImageScore) else None

    def checked(found: Callable[[Outputs, Outputs], Result]) -> Callable[[Outputs, Outputs], Result]:
        @functools.wraps(found)
        def call(outputs: Outputs, reference: Outputs) -> Result:
            try:
                return found(outputs, reference)
            except ValueError as error:
                raise ConfigError("score", name, f"one for the outputs of this model ({error})") from error

        return call

    return checked(function) if values is None else ImageScore(checked(values))
