"""A database that is opened while its server goes down."""

from __future__ import annotations

from typing import Any

import pytest
import sqlalchemy
from optuna.exceptions import StorageInternalError

from nncf_mcq.precision_init.study.databases import _TRIES, _retried


def failing(times: int, *, is_lost: bool) -> tuple[list[int], Any]:
    calls: list[int] = []

    def make() -> str:
        calls.append(1)
        if len(calls) > times:
            return "storage"
        kind = sqlalchemy.exc.OperationalError if is_lost else sqlalchemy.exc.DataError
        cause = kind("COMMIT", {}, Exception("closed"))
        raise StorageInternalError("An exception is raised during the commit.") from cause

    return calls, make


def test_a_connection_that_is_lost_while_tables_are_made_is_made_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("nncf_mcq.precision_init.study.databases._PAUSE", 0.001)
    calls, make = failing(2, is_lost=True)
    assert (_retried(make), len(calls)) == ("storage", 3)
    calls, make = failing(99, is_lost=True)
    with pytest.raises(StorageInternalError):
        _retried(make)
    assert len(calls) == _TRIES


def test_other_failures_are_told_at_once() -> None:
    calls, make = failing(2, is_lost=False)
    with pytest.raises(StorageInternalError):
        _retried(make)
    assert len(calls) == 1
