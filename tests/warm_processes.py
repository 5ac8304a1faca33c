"""Real processes of `nncf-mcq` without the seconds of its imports: a server has imported everything, and forks them.

A process has its own number, streams, folder, environment and exit code, and gets signals, as if it was a new
interpreter, with one difference: the processes of a server share the seed of `hash`. Where start-up itself or the order
of sets is tested, a new interpreter is needed.
"""

from __future__ import annotations

import atexit
import contextlib
import functools
import gc
import importlib
import json
import os
import selectors
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import NoReturn, TextIO

import numpy as np

from nncf_mcq import cli
from nncf_mcq.utils.library_logs import silence_cuda_notice

MODULES = (
    "cmaes",
    "jinja2",
    "nncf.openvino.graph.nncf_graph_builder",
    "nncf.quantization.algorithms.fast_bias_correction.openvino_backend",
    "nncf.quantization.algorithms.min_max.openvino_backend",
    "nncf.torch",
    "nncf_mcq.config.code",
    "nncf_mcq.deployment",
    "nncf_mcq.job",
    "nncf_mcq.pareto_front",
    "nncf_mcq.precision_init.builtin",
    "nncf_mcq.precision_init.search.samplers",
    "nncf_mcq.summaries.result",
    "nncf_mcq.worker",
    "openvino.frontend.pytorch",
    "optuna",
    "torchvision",
)
"""What commands import once they know what they are to do."""

LONGEST_REQUEST = 1 << 20


class WarmProcess:
    """A command that a server of this process runs; the part of `subprocess.Popen` that tests use.

    Args:
        arguments: Of `nncf-mcq`.
        folder: Where it runs.
        environment: All of its variables.

    Attributes:
        returncode: As that of `subprocess.Popen`: negative for a signal, and None while the process runs.
        seconds: The processor time of a process that has ended.
    """

    def __init__(self, arguments: list[str], folder: Path, environment: Mapping[str, str]) -> None:
        self.args = arguments
        self.returncode: int | None = None
        self.seconds = 0.0
        outputs = [os.pipe() for _ in range(3)]
        request = {"arguments": arguments, "folder": str(folder), "environment": dict(environment)}
        socket.send_fds(_server(), [json.dumps(request).encode()], [writing for _, writing in outputs])
        for _, writing in outputs:
            os.close(writing)
        self.stdout, self.stderr, self._report = (os.fdopen(reading) for reading, _ in outputs)
        self.pid = int(self._report.readline())

    def poll(self) -> int | None:
        try:
            return self.wait(0)
        except subprocess.TimeoutExpired:
            return None

    def wait(self, timeout: float | None = None) -> int:
        if self.returncode is None:
            with selectors.DefaultSelector() as selector:
                selector.register(self._report, selectors.EVENT_READ)
                if not selector.select(timeout):
                    raise subprocess.TimeoutExpired(self.args, timeout or 0)
            code, self.seconds = json.loads(self._report.readline())
            self._report.close()
            self.returncode = int(code)
        return self.returncode

    def communicate(self, timeout: float | None = None) -> tuple[str, str]:
        end = None if timeout is None else time.monotonic() + timeout
        printed = ["", ""]

        def read(index: int, stream: TextIO) -> None:
            with stream:
                printed[index] = stream.read()

        readers = [
            threading.Thread(target=read, args=place, daemon=True) for place in enumerate((self.stdout, self.stderr))
        ]
        for reader in readers:
            reader.start()
        for reader in readers:
            reader.join(None if end is None else max(0, end - time.monotonic()))
            if reader.is_alive():
                raise subprocess.TimeoutExpired(self.args, timeout or 0)
        self.wait(None if end is None else max(0, end - time.monotonic()))
        return printed[0], printed[1]

    def send_signal(self, number: int) -> None:
        if self.poll() is None:
            os.kill(self.pid, number)

    def terminate(self) -> None:
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)


@functools.cache
def _server() -> socket.socket:
    """The connection to this process's server: where it ends, the server and all that it runs end, too."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    ours.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, LONGEST_REQUEST)
    root = Path(__file__).resolve().parent.parent
    server = subprocess.Popen(
        [sys.executable, "-m", "tests.warm_processes", str(theirs.fileno())],
        pass_fds=[theirs.fileno()],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        cwd=root,
        # Threads would not outlive a fork.
        env={**os.environ, "PYTHONPATH": str(root), "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"},
    )
    theirs.close()

    def end() -> None:
        ours.close()
        server.wait()

    atexit.register(end)
    return ours


class _Server:
    """Forks a process for each request, and reports its number, its exit code and its seconds.

    Args:
        requests: The connection to the tests.
    """

    def __init__(self, requests: socket.socket) -> None:
        self._requests = requests
        self._selector = selectors.DefaultSelector()
        self._selector.register(requests, selectors.EVENT_READ)
        self._reports: dict[int, tuple[int, int]] = {}
        """By process: a descriptor that tells of its end, and the pipe of its report."""

    def serve(self) -> None:
        """Returns in the new processes alone, each as its request says."""
        while True:
            for key, _ in self._selector.select():
                if isinstance(key.data, int):
                    self._report(key.data)
                elif self._fork():
                    return

    def _fork(self) -> bool:
        data, received, _, _ = socket.recv_fds(self._requests, LONGEST_REQUEST, 3)
        if not data:
            self._end()
        out, errors, report = received
        assert len(list(Path("/proc/self/task").iterdir())) == 1, threading.enumerate()
        process = os.fork()
        if process:
            os.close(out)
            os.close(errors)
            _tell(report, process)
            ended = os.pidfd_open(process)
            self._reports[process] = ended, report
            self._selector.register(ended, selectors.EVENT_READ, process)
            return False
        os.dup2(out, 1)
        os.dup2(errors, 2)
        self._selector.close()
        self._requests.close()
        for descriptor in (*received, *(each for pair in self._reports.values() for each in pair)):
            os.close(descriptor)
        request = json.loads(data)
        os.environ.clear()
        os.environ.update(request["environment"])
        os.chdir(request["folder"])
        sys.argv = [str(cli.__file__), *request["arguments"]]
        # Python does the same to its own generator.
        np.random.seed()
        return True

    def _report(self, process: int) -> None:
        _, status, usage = os.wait4(process, 0)
        ended, report = self._reports.pop(process)
        self._selector.unregister(ended)
        os.close(ended)
        _tell(report, [os.waitstatus_to_exitcode(status), usage.ru_utime + usage.ru_stime])
        os.close(report)

    def _end(self) -> NoReturn:
        for process in self._reports:
            os.kill(process, signal.SIGKILL)
        os._exit(0)


def _tell(report: int, message: int | list[float]) -> None:
    # A test that failed may have dropped the other end.
    with contextlib.suppress(BrokenPipeError):
        os.write(report, f"{json.dumps(message)}\n".encode())


def _import_everything() -> None:
    silence_cuda_notice()
    for name in MODULES:
        importlib.import_module(name)
    # Collections would only look through it, and copy its pages.
    gc.freeze()


if __name__ == "__main__":
    _import_everything()
    _Server(socket.socket(fileno=int(sys.argv[1]))).serve()
    cli.main()
