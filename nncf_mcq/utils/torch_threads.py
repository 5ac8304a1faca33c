"""PyTorch's threads: one for each piece of work rather than all for one piece."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")


@contextmanager
def one_torch_thread() -> Iterator[None]:
    """Keeps PyTorch's work in the calling thread while it lasts; `TorchPool` says why."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


class TorchPool:
    """Runs PyTorch work side by side, one thread for each piece.

    The pieces here are many and small. PyTorch's own threads meet at a barrier after every operation: on a machine
    that does something else as well, each barrier waits for a thread that has no core, and the work takes many times as
    long.

    Args:
        threads: Pieces of work at a time.
    """

    def __init__(self, threads: int) -> None:
        self._threads = threads

    def __enter__(self) -> TorchPool:
        import torch

        self._before = torch.get_num_threads()
        torch.set_num_threads(1)
        # The number of threads is a property of each thread.
        self._executor = ThreadPoolExecutor(self._threads, initializer=torch.set_num_threads, initargs=(1,))
        return self

    def __exit__(self, *_: object) -> None:
        import torch

        self._executor.shutdown(cancel_futures=True)
        torch.set_num_threads(self._before)

    def map(self, function: Callable[[Item], Result], items: Iterable[Item]) -> Iterator[Result]:
        """Results in the order of the items, as they come; the first error is raised."""
        return self._executor.map(function, items)
