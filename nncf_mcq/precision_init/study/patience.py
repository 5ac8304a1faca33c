"""A storage on a server that is restarted: its calls are repeated until it is back."""

from __future__ import annotations

import functools
import logging
import random
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any, Final, Protocol, TypeVar

import sqlalchemy
from optuna.exceptions import UpdateFinishedTrialError
from optuna.storages import BaseStorage

from nncf_mcq.errors import StorageError, reason_of
from nncf_mcq.utils.interrupts import is_end_requested
from nncf_mcq.utils.urls import without_secrets

LOST_SECONDS = 300.0
"""For which a server may be away: a restart takes seconds, a move to another machine minutes."""

_QUIET_SECONDS: Final = 1.0
"""For which nothing is said: transactions that met, or a pooled connection that was closed."""

_FIRST_PAUSE: Final = 0.1
_LONGEST_PAUSE: Final = 5.0
_POLL_SECONDS: Final = 0.1

_LOST: Final = (
    sqlalchemy.exc.OperationalError,
    sqlalchemy.exc.InterfaceError,
    # The transaction of a connection that broke, when Optuna goes on with it.
    sqlalchemy.exc.PendingRollbackError,
)

_FAILED_TRANSACTION: Final = "raised during the commit"
"""Of Optuna's message for any error of a database, as the gRPC proxy passes it on."""

Storage = TypeVar("Storage", bound=BaseStorage)
_logger = logging.getLogger(__name__)


class _WithCode(Protocol):
    """An error of gRPC, which need not be installed."""

    def code(self) -> Any: ...

    def details(self) -> Any: ...


def patient(
    storage: Storage,
    url: str,
    location: str,
    *,
    reconnect: Callable[[], object] = lambda: None,
    remind: Callable[[], object] | None = None,
) -> Storage:
    """Makes the calls of a storage wait for its server; returns the same storage.

    A call whose connection broke is repeated. Whether it had been written by then, nobody knows: a score, a claim or a
    trial may be written twice, and is one all the same, as readers go by the policy and by the claim's name.

    Methods of the instance are replaced: Optuna asks for the type of a storage.

    Args:
        storage: Calls are atomic.
        url: Its URL, whose secrets no message shows.
        location: The URL as messages show it.
        reconnect: Called before a call is repeated.
        remind: Called once where something is not found, which the server may have forgotten; the call is repeated.

    Raises:
        StorageError: By any method, when the server was away for `LOST_SECONDS`, or when the process is asked to end
            meanwhile.
    """
    patience = _Patience(url, location, reconnect, remind)
    for name, member in vars(BaseStorage).items():
        if callable(member) and not name.startswith("_"):
            setattr(storage, name, patience.of(getattr(storage, name)))
    return storage


def is_lost_connection(error: BaseException) -> bool:
    """Whether an error says nothing of the call, but of the connection or the state of the server.

    Args:
        error: Of Optuna, SQLAlchemy or gRPC.
    """
    for cause in _causes(error):
        if isinstance(cause, _LOST):
            return True
        if isinstance(cause, sqlalchemy.exc.DBAPIError) and cause.connection_invalidated:
            return True
        if _is_of_lost_proxy(cause):
            return True
    return False


class _Patience:
    """Shared by all calls of one storage: threads that wait for the same server give it up together."""

    def __init__(
        self, url: str, location: str, reconnect: Callable[[], object], remind: Callable[[], object] | None
    ) -> None:
        self._url = url
        self._location = location
        self._reconnect = reconnect
        self._remind = remind
        self._lock = threading.Lock()
        self._lost_since: float | None = None
        self._is_told = False

    def of(self, call: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(call)
        def repeated(*args: Any, **kwargs: Any) -> Any:
            first: float | None = None
            pause = _FIRST_PAUSE
            is_reminded = self._remind is None
            while True:
                try:
                    found = call(*args, **kwargs)
                except UpdateFinishedTrialError:
                    if first is None:
                        raise
                    # By the call whose connection broke.
                    found = True
                except KeyError:
                    if is_reminded or self._remind is None:
                        raise
                    is_reminded = True
                    self._remind()
                    continue
                except Exception as error:
                    if not is_lost_connection(error):
                        raise
                    first = time.monotonic() if first is None else first
                    self._lose(error, first)
                    _wait(random.uniform(0.5, 1.0) * pause)
                    pause = min(2 * pause, _LONGEST_PAUSE)
                    self._reconnect()
                    continue
                self._find()
                return found

        return repeated

    def _lose(self, error: Exception, first: float) -> None:
        """Notes that the server is away, or gives it up."""
        reason = without_secrets(_reason(error), self._url)
        now = time.monotonic()
        with self._lock:
            if self._lost_since is None:
                self._lost_since = now
            away = now - min(self._lost_since, first)
            is_news = not self._is_told and away >= _QUIET_SECONDS
            self._is_told |= is_news
        if away >= LOST_SECONDS or is_end_requested():
            raise StorageError(
                f"the storage {self._location} cannot be reached, for {away:.0f} s now ({reason}): what was scored so "
                "far is stored there; once it is back, repeat the command, with --resume unless it is a worker"
            ) from error
        if is_news:
            _logger.warning("%s cannot be reached (%s): trying again for %g s", self._location, reason, LOST_SECONDS)

    def _find(self) -> None:
        with self._lock:
            since, self._lost_since = self._lost_since, None
            is_told, self._is_told = self._is_told, False
        if since is not None and is_told:
            _logger.warning("%s is back after %.1f s", self._location, time.monotonic() - since)


def _wait(seconds: float) -> None:
    """Sleeps, unless the process is asked to end."""
    end = time.monotonic() + seconds
    while (left := end - time.monotonic()) > 0 and not is_end_requested():
        time.sleep(min(left, _POLL_SECONDS))


def _is_of_lost_proxy(error: BaseException) -> bool:
    """Whether the proxy of a storage cannot be reached, or cannot reach its own database."""
    if not hasattr(error, "code") or not hasattr(error, "details"):
        return False
    found: _WithCode = error
    name = getattr(found.code(), "name", "")
    return name in ("UNAVAILABLE", "DEADLINE_EXCEEDED", "CANCELLED") or (
        name == "UNKNOWN" and _FAILED_TRANSACTION in str(found.details())
    )


def _causes(error: BaseException) -> Iterator[BaseException]:
    found: BaseException | None = error
    while found is not None:
        yield found
        found = found.__cause__


def _reason(error: BaseException) -> str:
    """The driver's own message, without the statement that failed."""
    *_, last = _causes(error)
    original = getattr(last, "orig", None)
    details = getattr(last, "details", None)
    return reason_of(original or last) if details is None else str(details()).strip().splitlines()[0]
