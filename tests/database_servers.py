"""Real database servers on the loopback, in a temporary folder; as a user of the system where they refuse root."""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import sqlalchemy

PASSWORD = "se/cret@word"
"""In a URL its characters are escaped."""

_QUOTED = "se%2Fcret%40word"
_USER = "searcher"
_SECONDS = 60.0
_PROXY = Path(__file__).resolve().parents[1] / "docs" / "examples" / "grpc_proxy.py"


@dataclass
class Server:
    """A server that can be killed and started again on the same data.

    Attributes:
        url: Of a storage, with its password.
        command: Starts it in the foreground.
        ending: The signal after which nothing is finished or flushed.
        is_ready: Whether it takes connections.
        user: Who runs it, or None for whoever runs the tests.
    """

    url: str
    command: list[str]
    ending: signal.Signals
    is_ready: Callable[[], bool]
    user: str | None = None
    environment: Mapping[str, str] | None = None
    _process: subprocess.Popen[bytes] | None = field(default=None, init=False, repr=False)

    def start(self) -> None:
        """Starts it, and waits until it takes connections."""
        self._process = subprocess.Popen(
            self.command,
            user=self.user,
            env=self.environment,
            cwd="/",
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        deadline = time.monotonic() + _SECONDS
        while not self.is_ready():
            assert self._process.poll() is None, f"{self.command[0]} ended with {self._process.returncode}"
            assert time.monotonic() < deadline, f"{self.command[0]} takes no connections"
            time.sleep(0.1)

    def kill(self) -> None:
        """Ends it in the middle of whatever it does."""
        if self._process is not None and self._process.poll() is None:
            self._process.send_signal(self.ending)
            self._process.wait(_SECONDS)


@contextmanager
def postgresql() -> Iterator[Server]:
    """A server of PostgreSQL with a database of the same name; the test is skipped where there is none."""
    pytest.importorskip("psycopg", reason="needs psycopg")
    initdb, postgres = _program("initdb"), _program("postgres")
    with _folder("postgres") as (folder, user):
        password = folder / "password"
        password.write_text(PASSWORD)
        if user is not None:
            shutil.chown(password, user)
        data = folder / "data"
        _run(user, initdb, "-D", data, "-U", _USER, "-A", "scram-sha-256", f"--pwfile={password}", "-N", "-E", "UTF8")
        port = _free_port()
        url = f"postgresql+psycopg://{_USER}:{_QUOTED}@127.0.0.1:{port}/postgres"
        options = ["listen_addresses=127.0.0.1", "unix_socket_directories=", f"port={port}", "fsync=off"]
        command = [postgres, "-D", str(data), *(part for option in options for part in ("-c", option))]
        # Of SIGKILL its children would know nothing.
        yield from _running(Server(url, command, signal.SIGQUIT, lambda: _takes_connections(url), user))


@contextmanager
def mariadb() -> Iterator[Server]:
    """A server of MariaDB, which speaks MySQL, with a database; the test is skipped where there is none."""
    pytest.importorskip("pymysql", reason="needs pymysql")
    install, mariadbd = _program("mariadb-install-db"), _program("mariadbd")
    with _folder("mysql") as (folder, user):
        data = folder / "data"
        as_user = [] if user is None else [f"--user={user}"]
        options = ["--skip-test-db", "--auth-root-authentication-method=normal", *as_user]
        _run(user, install, "--no-defaults", f"--datadir={data}", *options)
        statements = folder / "statements.sql"
        statements.write_text(
            "CREATE DATABASE IF NOT EXISTS studies;\n"
            f"GRANT ALL ON studies.* TO '{_USER}'@'127.0.0.1' IDENTIFIED BY '{PASSWORD}';\n"
        )
        statements.chmod(0o644)
        port = _free_port()
        url = f"mysql+pymysql://{_USER}:{_QUOTED}@127.0.0.1:{port}/studies"
        options = [f"--datadir={data}", "--bind-address=127.0.0.1", f"--port={port}", f"--init-file={statements}"]
        options += [f"--socket={folder}/socket", f"--pid-file={folder}/pid", "--skip-name-resolve", *as_user]
        command = [mariadbd, "--no-defaults", *options]
        yield from _running(Server(url, command, signal.SIGKILL, lambda: _takes_connections(url), user))


@contextmanager
def grpc_proxy() -> Iterator[Server]:
    """Optuna's gRPC proxy of an SQLite file that it alone opens; the test is skipped where gRPC is not installed."""
    pytest.importorskip("grpc", reason="needs grpcio")
    with tempfile.TemporaryDirectory() as folder:
        port = _free_port()
        # The file that the documentation offers.
        command = [sys.executable, "-W", "ignore", str(_PROXY)]
        environment = {**os.environ, "DATABASE": f"sqlite:///{folder}/study.db", "PORT": str(port)}
        url = f"grpc://127.0.0.1:{port}"
        yield from _running(Server(url, command, signal.SIGKILL, lambda: _listens(port), environment=environment))


SERVERS = {"PostgreSQL": postgresql, "MariaDB": mariadb, "gRPC": grpc_proxy}


def _running(server: Server) -> Iterator[Server]:
    try:
        server.start()
        yield server
    finally:
        server.kill()


def _program(name: str) -> str:
    """A program's path; Debian keeps those of servers out of the way."""
    places = sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)
    path = os.pathsep.join([*map(str, places), os.environ.get("PATH", ""), "/usr/sbin", "/usr/local/sbin"])
    found = shutil.which(name, path=path)
    if found is None:
        pytest.skip(f"needs {name}: apt-get install postgresql mariadb-server")
    return found


@contextmanager
def _folder(owner: str) -> Iterator[tuple[Path, str | None]]:
    """A folder of whoever shall run the server: the tests' own user, or where that is root, another."""
    user = None
    if os.getuid() == 0:
        names = {entry.pw_name for entry in pwd.getpwall()}
        user = owner if owner in names else "nobody"
    # Those of pytest are for the tests' own user, and too deep for a socket.
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as name:
        if user is not None:
            shutil.chown(name, user)
        yield Path(name), user


def _run(user: str | None, *command: str | Path) -> None:
    done = subprocess.run(list(map(str, command)), user=user, cwd="/", capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def _free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port: int = found.getsockname()[1]
        return port


def _takes_connections(url: str) -> bool:
    engine = sqlalchemy.create_engine(url, poolclass=sqlalchemy.NullPool)
    try:
        with engine.connect():
            return True
    except sqlalchemy.exc.OperationalError:
        return False


def _listens(port: int) -> bool:
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=1):
            return True
    except OSError:
        return False
