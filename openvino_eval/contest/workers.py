"""Runs the work of a contest in this process, or in several."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from typing import Protocol, TypeVar

from nncf_mcq import NncfMcqError
from nncf_mcq.utils import SilentProgress, Stages, silence_cuda_notice
from openvino_eval.contest.runner import ContestRunner
from openvino_eval.contest.settings import ContestSettings
from openvino_eval.errors import EvaluationError

Item = TypeVar("Item")
Result = TypeVar("Result")


class Workers(Protocol):
    """Whoever does the work."""

    def map(
        self, function: Callable[[ContestRunner, Item], Result], items: Sequence[Item]
    ) -> Iterator[tuple[Item, Result]]:
        """Items with their results, in the order in which they are done."""


class ThisProcess:
    """Does the work itself, one item after the other.

    Args:
        settings: Of the contest.
        stages: Reports the progress of the preparation.
    """

    def __init__(self, settings: ContestSettings, stages: Stages) -> None:
        self._settings = settings
        self._stages = stages
        self._runner: ContestRunner | None = None

    def map(
        self, function: Callable[[ContestRunner, Item], Result], items: Sequence[Item]
    ) -> Iterator[tuple[Item, Result]]:
        """Items with their results, in their order."""
        for item in items:
            if self._runner is None:
                self._runner = ContestRunner.prepare(self._settings, self._stages)
            yield item, function(self._runner, item)


class Processes:
    """Gives the work to processes that prepare once each.

    Args:
        executor: The processes.
    """

    def __init__(self, executor: ProcessPoolExecutor) -> None:
        self._executor = executor

    def map(
        self, function: Callable[[ContestRunner, Item], Result], items: Sequence[Item]
    ) -> Iterator[tuple[Item, Result]]:
        """Items with their results as they come.

        Raises:
            EvaluationError: An item failed, or a process died.
        """
        futures = {self._executor.submit(_work, function, item): item for item in items}
        try:
            for future in as_completed(futures):
                yield futures[future], future.result()
        except BrokenProcessPool as error:
            raise EvaluationError(
                "a process of the contest died, perhaps for lack of memory: repeat the command to continue"
            ) from error


@contextmanager
def make_workers(settings: ContestSettings, stages: Stages) -> Iterator[Workers]:
    """The processes that the settings ask for; they end with the context.

    Args:
        settings: Of the contest.
        stages: Reports the progress of the preparation, where it takes place in this process.
    """
    if settings.jobs == 1:
        yield ThisProcess(settings, stages)
        return
    # A forked process could not use the threads of PyTorch and OpenVINO.
    context = multiprocessing.get_context("spawn")
    others = set(multiprocessing.active_children())
    executor = ProcessPoolExecutor(settings.jobs, context, initializer=_begin, initargs=(settings,))
    try:
        yield Processes(executor)
    except BaseException:
        executor.shutdown(wait=False, cancel_futures=True)
        _terminate(child for child in multiprocessing.active_children() if child not in others)
        raise
    executor.shutdown()


_settings: ContestSettings | None = None
_runner: ContestRunner | None = None


def _begin(settings: ContestSettings) -> None:
    global _settings
    _settings = settings
    silence_cuda_notice()
    # Ctrl-C reaches every process of a terminal: the first one decides.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def _work(function: Callable[[ContestRunner, Item], Result], item: Item) -> Result:
    global _runner
    assert _settings is not None
    try:
        if _runner is None:
            _runner = ContestRunner.prepare(_settings, Stages(SilentProgress()))
        return function(_runner, item)
    except NncfMcqError as error:
        # Some of these cannot be sent to another process.
        raise EvaluationError(str(error)) from None


def _terminate(children: Iterable[multiprocessing.process.BaseProcess]) -> None:
    for child in children:
        child.terminate()
