"""The one error that bad input to a measurement raises."""

from __future__ import annotations


class EvaluationError(Exception):
    """An input that cannot be measured: the message is one line saying what was found and what is needed."""
