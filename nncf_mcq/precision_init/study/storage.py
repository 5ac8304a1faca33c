"""Opens a storage of Optuna and finds the studies of a search in it."""

from __future__ import annotations

import logging
import os
import re
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, TypeVar

import optuna
from optuna.exceptions import DuplicatedStudyError, ExperimentalWarning
from optuna.storages import BaseStorage, JournalStorage

from nncf_mcq.errors import ConfigError
from nncf_mcq.precision_init.study.journal import SearchJournal, is_journal
from nncf_mcq.precision_init.study.memo import StudyMemo
from nncf_mcq.precision_init.study.subject import Subject
from nncf_mcq.utils.interrupts import uninterrupted
from nncf_mcq.utils.urls import without_password, without_secrets

STUDY_NAME = "nncf_mcq"
"""Searches that the user gives no name are numbered: nncf_mcq-1, nncf_mcq-2."""

SCORES_SUFFIX = "-scores"
"""Appended to the name of a search: the study of every policy that was scored, sensitivities included."""

CLAIMS_SUFFIX = "-claims"
"""Appended likewise: who runs which policy, once a worker has joined."""

SUBJECT = "subject"
"""User attribute of a study of scores: what the search is about."""

POLL_SECONDS = 0.5
"""How often a worker looks whether the search that it waits for has begun."""

Mode = Literal["new", "resume", "continue", "join"]
Result = TypeVar("Result")

_PATH = "study_storage"
_ALLOWED = "a journal file, or a URL of an Optuna storage such as sqlite:///study.db"
_logger = logging.getLogger(__name__)


@contextmanager
def quiet_optuna() -> Iterator[None]:
    """Keeps Optuna's log and its warnings on experimental and deprecated arguments quiet; restores both afterwards."""
    verbosity = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ExperimentalWarning)
            warnings.filterwarnings("ignore", category=FutureWarning, message=r".*has been deprecated in v\d")
            yield
    finally:
        optuna.logging.set_verbosity(verbosity)


@dataclass(frozen=True)
class StoredSearch:
    """One search in a storage: the sampler's own study, and that of every scored policy.

    Attributes:
        name: Of the sampler's study.
        location: Absolute path of the journal, or the URL without its password.
        memo: The scores.
        mode: Whether the search is new, resumed, or another process's.
    """

    name: str
    location: str
    memo: StudyMemo
    mode: Mode
    _storage: BaseStorage = field(repr=False)

    def study(self) -> optuna.Study:
        """The sampler's study, made by the process that asks first; its sampler is Optuna's default."""
        return optuna.create_study(storage=self._storage, study_name=self.name, load_if_exists=True)


class StudyStorage:
    """A storage that may hold several searches; each is a pair of studies, found again by name and subject.

    A new search never touches those that are there already: a process may still be at work on them.

    Args:
        storage: A journal file, a URL of Optuna (a relational database, or redis), `grpc://host:port` of its gRPC
            proxy, or an Optuna storage. A journal file and its folder are made only when the search begins.
        mode: new: begin a search. resume: go on with the newest one, or begin one where there is none; refuse a storage
            that holds only searches of other subjects. continue: the same, but begin a search beside those. join: as
            resume for a worker, which waits for the search.
        name: Of the search; numbered by default.
        seconds: How long a worker waits.

    Raises:
        ConfigError: The storage cannot be used.
    """

    def __init__(
        self, storage: str | Path | BaseStorage, *, mode: Mode = "new", name: str | None = None, seconds: float = 0.0
    ) -> None:
        self._mode: Mode = mode
        self._name = name
        self._seconds = seconds
        self._connection: BaseStorage | None = None
        self._path: Path | None = None
        with quiet_optuna():
            if isinstance(storage, BaseStorage):
                self._connection, self.location = storage, type(storage).__name__
            elif isinstance(storage, str) and "://" in storage:
                self.location = without_password(storage)
                self._connection = _connect(storage, self.location)
            else:
                self._path = Path(storage).resolve()
                self.location = str(self._path)
                self._open_journal(self._path)

    def start(self, subject: Subject) -> StoredSearch:
        """Begins the search, or finds the one to resume or to join.

        Raises:
            ConfigError: What is there is about something else, or there is nothing to join.
        """
        with quiet_optuna():
            if self._mode == "join":
                return self._join(subject)
            with uninterrupted():
                connection = self._make()
                found = self._find(connection, subject) if self._mode in ("resume", "continue") else None
                return self._begin(connection, subject) if found is None else self._load(connection, found)

    def _join(self, subject: Subject) -> StoredSearch:
        deadline = time.monotonic() + self._seconds
        waiting = False
        while True:
            with uninterrupted():
                if self._connection is None and self._path is not None:
                    self._open_journal(self._path)
                if self._connection is not None:
                    found = self._find(self._connection, subject)
                    if found is not None:
                        return self._load(self._connection, found)
            if time.monotonic() >= deadline:
                raise ConfigError(
                    _PATH, self.location, f"a storage in which a search has started; waited {self._seconds:g} s for it"
                )
            if not waiting:
                waiting = True
                _logger.warning("waiting up to %g s for a search to start in %s", self._seconds, self.location)
            time.sleep(POLL_SECONDS)

    def _begin(self, connection: BaseStorage, subject: Subject) -> StoredSearch:
        earlier = self._subjects(connection)
        number = max((_number(name) for name in earlier), default=0) + 1
        while True:
            name = self._name or f"{STUDY_NAME}-{number}"
            try:
                scores = optuna.create_study(storage=connection, study_name=name + SCORES_SUFFIX)
                break
            except DuplicatedStudyError as error:
                # Begun by another process since, or the name is the user's.
                if self._name is not None:
                    raise ConfigError(
                        "study_name", name, f"a name that is not used in {self.location}, or resume"
                    ) from error
                number += 1
        scores.set_user_attr(SUBJECT, subject.to_dict())
        if earlier:
            last = max(earlier, key=_number)
            count = len(optuna.load_study(study_name=last + SCORES_SUFFIX, storage=connection).get_trials(False))
            _logger.warning(
                "%s holds an earlier search, %s with %d evaluations: it is left unchanged, and %s starts as a new one",
                self.location,
                last,
                count,
                name,
            )
        return StoredSearch(name, self.location, _memo(scores, connection, name, "new"), "new", connection)

    def _load(self, connection: BaseStorage, name: str) -> StoredSearch:
        scores = optuna.load_study(study_name=name + SCORES_SUFFIX, storage=connection)
        return StoredSearch(name, self.location, _memo(scores, connection, name, self._mode), self._mode, connection)

    def _find(self, connection: BaseStorage, subject: Subject) -> str | None:
        """The newest search of the subject; None if one may begin."""
        subjects = self._subjects(connection)
        newest_first = sorted(subjects, key=_number, reverse=True)
        for name in newest_first:
            if not subject.differences(subjects[name]):
                return name
        if not newest_first or self._mode == "continue":
            return None
        name = newest_first[0]
        remedy = "name that search's storage" if self._mode == "join" else "start a new search without resume"
        raise ConfigError(
            _PATH,
            self.location,
            f"a storage with a search of this model, these images and this configuration; its search {name} has "
            f"{subject.differences(subjects[name])}: restore that, or {remedy}",
        )

    def _subjects(self, connection: BaseStorage) -> dict[str, object]:
        """Names of the searches that can be meant, and what they are about."""
        found = {}
        for study in connection.get_all_studies():
            name = study.study_name.removesuffix(SCORES_SUFFIX)
            if name == study.study_name or SUBJECT not in study.user_attrs:
                # A study whose process was killed before it wrote the subject holds nothing else either.
                continue
            if name == self._name or (self._name is None and _number(name) > 0):
                found[name] = study.user_attrs[SUBJECT]
        return found

    def _make(self) -> BaseStorage:
        if self._connection is None:
            assert self._path is not None
            path = self._path
            _or_config_error(self.location, lambda: path.parent.mkdir(parents=True, exist_ok=True))
            self._connection = _or_config_error(self.location, lambda: JournalStorage(SearchJournal(path)))
        return self._connection

    def _open_journal(self, path: Path) -> None:
        """Opens the journal if it exists, and otherwise looks whether it can be made."""
        if path.exists():
            if not path.is_file() or not _or_config_error(self.location, lambda: is_journal(path)):
                raise ConfigError(_PATH, self.location, _ALLOWED)
            _check_writable(path, self.location)
            self._connection = _or_config_error(self.location, lambda: JournalStorage(SearchJournal(path)))
        else:
            folder = next(parent for parent in path.parents if parent.exists())
            if not folder.is_dir():
                raise ConfigError(_PATH, self.location, f"a file in a folder; {folder} is not a folder")
            _check_writable(folder, self.location)


def _memo(scores: optuna.Study, connection: BaseStorage, name: str, mode: Mode) -> StudyMemo:
    def claims() -> optuna.Study:
        return optuna.create_study(storage=connection, study_name=name + CLAIMS_SUFFIX, load_if_exists=True)

    return StudyMemo(scores, claims, is_shared=mode == "join")


def _number(name: str) -> int:
    """The number of a search that the user gave no name; otherwise 0."""
    match = re.fullmatch(rf"{STUDY_NAME}-(\d+)", name)
    return int(match[1]) if match else 0


def _check_writable(path: Path, location: str) -> None:
    if not os.access(path, os.W_OK):
        raise ConfigError(_PATH, location, f"a file that can be written; {path} is read-only")


def _connect(url: str, location: str) -> BaseStorage:
    # Most searches keep a journal, which needs no SQLAlchemy.
    from nncf_mcq.precision_init.study.databases import open_database

    return _or_config_error(location, lambda: open_database(url), url)


def _or_config_error(location: str, action: Callable[[], Result], url: str = "") -> Result:
    """Runs what may fail in as many ways as there are databases and drivers."""
    try:
        return action()
    except Exception as error:
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise ConfigError(_PATH, location, f"{_ALLOWED} ({without_secrets(reason, url)})") from error
