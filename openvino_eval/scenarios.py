"""What `openvino-eval benchmark` measures of each model: modes, batch sizes, streams and percentiles."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from openvino_eval.errors import EvaluationError
from openvino_eval.options import Mode

_PERCENTILES: Final = range(1, 100)


@dataclass(frozen=True)
class Scenario:
    """One way to run a model.

    Attributes:
        mode: One inference at a time, or several.
        name: In tables and reports.
        batch_size: Samples of an inference; None for the model's own.
        streams: Inferences that run side by side for the throughput; as many as threads where it is None.
        percentiles: Of the latency, besides its median.
    """

    mode: Mode
    name: str
    batch_size: int | None = None
    streams: int | None = None
    percentiles: tuple[int, ...] = ()

    @property
    def runs(self) -> int:
        """Runs of `benchmark_app` in a round: it tells one percentile of each."""
        return 1 + len(self.percentiles)


def plan(
    modes: Sequence[Mode],
    batch_sizes: Sequence[int] = (),
    streams: Sequence[int] = (),
    percentiles: Sequence[int] = (),
) -> list[Scenario]:
    """Every mode with every batch size; throughput with every number of streams, latency with all percentiles.

    Args:
        modes: What to measure.
        batch_sizes: Samples of an inference; none for the models' own.
        streams: For the throughput; none for as many as threads.
        percentiles: Of the latency, 1 to 99.

    Raises:
        EvaluationError: A number is out of range.
    """
    if min(batch_sizes, default=1) < 1:
        raise EvaluationError(f"batch size: found {min(batch_sizes)}, allowed: 1 or more")
    for percentile in percentiles:
        if percentile not in _PERCENTILES:
            raise EvaluationError(f"latency percentile: found {percentile}, allowed: 1 to 99")
    # The median is there anyway.
    beside = tuple(sorted({percentile for percentile in percentiles if percentile != 50}))
    sizes: list[int | None] = [*dict.fromkeys(batch_sizes)] or [None]
    counts: list[int | None] = [*dict.fromkeys(streams)] or [None]
    found = []
    for mode in dict.fromkeys(modes):
        for size in sizes:
            batch = "" if size is None else f", batch {size}"
            if mode is Mode.LATENCY:
                found.append(Scenario(mode, f"{mode}{batch}", size, percentiles=beside))
                continue
            for count in counts:
                # Names stay as short as they were where there is nothing to tell apart.
                several = f", {count} stream{'' if count == 1 else 's'}" if len(counts) > 1 else ""
                found.append(Scenario(mode, f"{mode}{batch}{several}", size, count))
    return found
