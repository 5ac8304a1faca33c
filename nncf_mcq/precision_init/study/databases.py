"""Opening a database of Optuna that several processes share."""

from __future__ import annotations

import logging
import random
import time
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

import sqlalchemy
from filelock import FileLock
from optuna.exceptions import StorageInternalError
from optuna.storages import BaseStorage, GrpcStorageProxy, JournalStorage, RDBStorage, get_storage
from optuna.storages.journal import JournalRedisBackend

from nncf_mcq.precision_init.study.patience import is_lost_connection, patient
from nncf_mcq.utils.urls import without_password

LOCK_SECONDS: Final = 60
"""For which a process waits for another's transaction in SQLite."""

PROXY_SCHEME: Final = "grpc"
"""Of the URL of Optuna's gRPC storage proxy, grpc://host:port; Optuna itself has none for it."""

CONNECT_SECONDS: Final = 10
"""After which a host that is silent counts as away."""

_DRIVERS: Final = "pip install 'nncf-mcq[storages]' has psycopg, pymysql and grpcio"
_DEFAULT_PORT: Final = 13000
_TRIES: Final = 6
_PAUSE: Final = 0.2


def open_database(url: str) -> BaseStorage:
    """The storage at a URL; its tables are made by the first process that comes.

    Args:
        url: Of a relational database, of redis, or of a gRPC proxy, `grpc://host:port`.
    """
    if url.startswith("redis"):
        return JournalStorage(JournalRedisBackend(url))
    if url.startswith("sqlite"):
        return _open_sqlite(url)
    location = without_password(url)
    if url.startswith(f"{PROXY_SCHEME}://"):
        return _open_proxy(url, location)
    # With the cache that Optuna would put before it: a call is repeated as a whole.
    return patient(get_storage(_retried(lambda: _open_server(url))), url, location)


def _open_proxy(url: str, location: str) -> BaseStorage:
    parts = urlsplit(url)
    try:
        proxy = GrpcStorageProxy(host=parts.hostname or "localhost", port=parts.port or _DEFAULT_PORT)
    except ImportError as error:
        raise ImportError(f"{error}; {_DRIVERS}") from error
    proxy.wait_server_ready(timeout=CONNECT_SECONDS)

    def reconnect() -> None:
        # A channel of gRPC tries again after up to two minutes. What Optuna does after unpickling makes a new one.
        proxy.__setstate__(proxy.__getstate__())

    def remind() -> None:
        # A proxy that was restarted sets parameters of those trials only that it has read since.
        for study in proxy.get_all_studies():
            proxy.get_all_trials(study._study_id, deepcopy=False)

    return patient(proxy, url, location, reconnect=reconnect, remind=remind)


def _open_server(url: str) -> RDBStorage:
    # Drivers of PostgreSQL and MySQL call it the same; a pooled connection that broke meanwhile is replaced.
    # It logs a traceback for each connection that a restarted server has closed; `patient` says what there is to say.
    logging.getLogger("sqlalchemy.pool").setLevel(logging.CRITICAL)
    address = sqlalchemy.make_url(url)
    has_timeout = address.get_backend_name() in ("postgresql", "mysql", "mariadb")
    arguments = {"connect_timeout": CONNECT_SECONDS} if has_timeout and not address.query.get("connect_timeout") else {}
    try:
        return RDBStorage(url, engine_kwargs={"pool_pre_ping": True, "connect_args": arguments})
    except ImportError as error:
        raise ImportError(f"{error.__cause__ or error}; {_DRIVERS}") from error


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
    """Tries again where another process made the tables at the same moment, or the server went down meanwhile."""
    for number in range(_TRIES):
        try:
            return make()
        except (
            sqlalchemy.exc.IntegrityError,
            sqlalchemy.exc.ProgrammingError,
            sqlalchemy.exc.OperationalError,
            StorageInternalError,
        ) as error:
            if isinstance(error, StorageInternalError):
                # A connection that had been made.
                is_passing = is_lost_connection(error)
            else:
                is_passing = isinstance(error, sqlalchemy.exc.IntegrityError) or "already exists" in str(error)
            if not is_passing or number == _TRIES - 1:
                raise
        time.sleep(random.uniform(0, _PAUSE * 2**number))
    raise AssertionError
