"""Opening a database of Optuna that several processes share."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any, Final

import sqlalchemy
from filelock import FileLock
from optuna.storages import BaseStorage, JournalStorage, RDBStorage
from optuna.storages.journal import JournalRedisBackend

LOCK_SECONDS: Final = 60
"""For which a process waits for another's transaction in SQLite."""

_TRIES: Final = 6
_PAUSE: Final = 0.2


def open_database(url: str) -> BaseStorage:
    """The storage at a URL; its tables are made by the first process that comes.

    Args:
        url: Of a relational database, or of redis.
    """
    if url.startswith("redis"):
        return JournalStorage(JournalRedisBackend(url))
    if url.startswith("sqlite"):
        return _open_sqlite(url)
    return _retried(lambda: RDBStorage(url))


def _open_sqlite(url: str) -> RDBStorage:
    """A file that one process writes to at a time, while the others wait.

    Optuna reads and then writes in one transaction. Two processes that have read cannot both go on to write: SQLite
    ends one of them at once with "database is locked". Here a transaction is a writer's from its beginning.
    """
    file = sqlalchemy.make_url(url).database
    is_file = file not in (None, "", ":memory:") and not str(file).startswith("file:")
    # Without a folder there is nothing to lock; the lock would make it.
    has_folder = is_file and Path(str(file)).absolute().parent.is_dir()
    with FileLock(f"{file}.lock", timeout=LOCK_SECONDS) if has_folder else nullcontext():
        storage = RDBStorage(url, engine_kwargs={"connect_args": {"timeout": LOCK_SECONDS}})
    if is_file:
        storage.engine.dispose()
        sqlalchemy.event.listen(storage.engine, "connect", _without_own_transactions)
        sqlalchemy.event.listen(storage.engine, "begin", _begin_to_write)
    return storage


def _without_own_transactions(connection: Any, _: object) -> None:
    connection.isolation_level = None


def _begin_to_write(connection: sqlalchemy.Connection) -> None:
    connection.exec_driver_sql("BEGIN IMMEDIATE")


def _retried(make: Callable[[], RDBStorage]) -> RDBStorage:
    """Tries again where another process made the tables at the same moment."""
    for number in range(_TRIES):
        try:
            return make()
        except (
            sqlalchemy.exc.IntegrityError,
            sqlalchemy.exc.ProgrammingError,
            sqlalchemy.exc.OperationalError,
        ) as error:
            is_race = isinstance(error, sqlalchemy.exc.IntegrityError) or "already exists" in str(error)
            if not is_race or number == _TRIES - 1:
                raise
        time.sleep(random.uniform(0, _PAUSE * 2**number))
    raise AssertionError
