"""The distance of a model's outputs from the float model's, over some images, whatever the outputs are."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import numpy as np
import openvino as ov
from numpy.typing import NDArray

from nncf_mcq.config.quality_report import OutputQuality, WorstImage
from nncf_mcq.metrics.closeness import CLOSENESS, BoxCloseness, Closeness
from nncf_mcq.metrics.doubts import Doubts
from nncf_mcq.metrics.recognition import RECOGNIZED_ON, RecognizedOutputs, recognize_outputs
from nncf_mcq.model.samples import Arrays
from nncf_mcq.utils.json_values import finite_or_none

LARGEST_RATIO: Final = 200.0
"""Ratio in dB that stands for outputs which are equal, or differ by less than any arithmetic would show."""

_SMALLEST_ENERGY: Final = 1e-300


def output_closeness(model: ov.Model, outputs: NDArray[Any], reference: NDArray[Any]) -> dict[str, float]:
    """The metrics of `Quality` for a model's first output alone.

    Args:
        model: One of the models, for what its graph tells.
        outputs: (N, ...) of the model.
        reference: Those of the model that it is compared with.

    Raises:
        ValueError: The shapes differ.
    """
    if outputs.shape != reference.shape:
        raise ValueError(f"outputs of shape {outputs.shape} but a reference of shape {reference.shape}")
    rows = [(reference[index : index + 1],) for index in range(len(reference))]
    quality = Quality(recognize_outputs(model, rows[:RECOGNIZED_ON]))
    for index, row in enumerate(rows):
        quality.add((outputs[index : index + 1],), row)
    return quality.metrics()


class Quality:
    """Collects the outputs of images, and tells how close they came to the float model's.

    Args:
        recognized: What the outputs are.
    """

    def __init__(self, recognized: RecognizedOutputs) -> None:
        self._recognized = recognized
        self._names = [output.name for output in recognized.outputs]
        count = len(self._names)
        self._signal: list[list[float]] = [[] for _ in range(count)]
        self._noise: list[list[float]] = [[] for _ in range(count)]
        self._doubts = Doubts(recognized)
        detector = recognized.detector
        self._boxes = None if detector is None else _Collected(BoxCloseness(detector))
        self._others = {
            number: _Collected(CLOSENESS[output.kind](number, output))
            for number, output in recognized.kinds.items()
            if output.kind in CLOSENESS
        }

    def add(self, found: Arrays, expected: Arrays) -> None:
        """Adds an image.

        Args:
            found: Each output (1, ...) of the model; of any number of rows where that depends on the image.
            expected: The float model's.
        """
        for number, (values, wanted) in enumerate(zip(found, expected, strict=True)):
            signal = noise = np.nan
            if values.shape == wanted.shape and np.issubdtype(wanted.dtype, np.floating):
                signal = float(np.square(wanted.astype(np.float64)).sum())
                noise = float(np.square(values.astype(np.float64) - wanted).sum())
                # NaN stands for what cannot be compared; an output that is none is as far away as can be.
                noise = np.inf if np.isnan(noise) else noise
            self._signal[number].append(signal)
            self._noise[number].append(noise)
        self._doubts.add(expected)
        for collected in (self._boxes, *self._others.values()):
            if collected is not None:
                collected.add(found, expected)

    def outputs(self, name_of: Callable[[int], str | None] = lambda index: None) -> tuple[OutputQuality, ...]:
        """The quality of each output; the boxes of a detector come first.

        Args:
            name_of: From the index of an image to the name of its file.
        """
        entries = []
        if self._boxes is not None and self._recognized.detector is not None:
            detector = self._recognized.detector
            metrics = self._boxes.metrics() | self._ratios(detector.outputs)
            worst = self._boxes.worst(name_of)
            entries.append(_entry(self._recognized.boxes_name, "boxes", detector.family, metrics, worst))
        for number, output in sorted(self._recognized.kinds.items()):
            collected = self._others.get(number)
            metrics = ({} if collected is None else collected.metrics()) | self._ratios((number,))
            worst = self._worst_ratio(number, name_of) if collected is None else collected.worst(name_of)
            entries.append(_entry(self._names[number], output.kind, None, metrics, worst))
        return tuple(entries)

    def metrics(self) -> dict[str, float]:
        """The metrics of the model by name, the most telling first; of several outputs the worst.

        The signal-to-noise ratio is also told for each output where there are several.
        """
        found: dict[str, list[float]] = {}
        for collected in (self._boxes, *self._others.values()):
            for name, value in ({} if collected is None else collected.metrics()).items():
                found.setdefault(name, []).append(value)
        lower = {type(item.closeness).image_metric for item in self._others.values() if not item.higher_is_closer}
        worst = {name: max(values) if name in lower else min(values) for name, values in found.items()}
        ratios = {name: self._ratios((number,)) for number, name in enumerate(self._names)}
        known = {name: values for name, values in ratios.items() if values}
        if known:
            worst["sqnr_db"] = min(values["sqnr_db"] for values in known.values())
            worst["relative_error"] = max(values["relative_error"] for values in known.values())
        if len(self._names) > 1:
            worst |= {f"sqnr_db {name}": values["sqnr_db"] for name, values in known.items()}
        return worst

    @property
    def notes(self) -> tuple[str, ...]:
        """What could not be measured, and why; after `metrics` or `outputs`."""
        collected = [item for item in (self._boxes, *self._others.values()) if item is not None]
        return tuple(dict.fromkeys(note for item in collected for note in item.closeness.notes))

    @property
    def doubts(self) -> tuple[str, ...]:
        """Why being close to the float model may say nothing."""
        return tuple(self._doubts.sentences())

    def _ratios(self, numbers: Sequence[int]) -> dict[str, float]:
        """Signal-to-noise ratio and relative error over all images, of the worst of some outputs."""
        found = []
        for number in numbers:
            signal, noise = (np.array(values[number]) for values in (self._signal, self._noise))
            known = ~np.isnan(signal)
            if signal[known].sum() > 0:
                found.append(_ratio(float(signal[known].sum()), float(noise[known].sum())))
        if not found:
            return {}
        ratio = min(found)
        return {"sqnr_db": ratio, "relative_error": 10 ** (-ratio / 20)}

    def _worst_ratio(self, number: int, name_of: Callable[[int], str | None]) -> WorstImage | None:
        ratios = [
            _ratio(signal, noise) if signal > 0 else np.inf
            for signal, noise in zip(self._signal[number], self._noise[number], strict=True)
        ]
        index = int(np.argmin(ratios))
        return _worst(index, "sqnr_db", ratios[index], name_of) if np.isfinite(ratios[index]) else None


class _Collected:
    """The values of single images beside what is told of all of them."""

    def __init__(self, closeness: Closeness) -> None:
        self.closeness = closeness
        self._summaries: list[Any] = []
        self._values: list[float] = []
        self._metrics: dict[str, float] | None = None

    @property
    def higher_is_closer(self) -> bool:
        return self.closeness.higher_is_closer

    def add(self, found: Arrays, expected: Arrays) -> None:
        summary = self.closeness.summarize(found, expected)
        if summary is not None:
            self._summaries.append(summary)
        self._values.append(math.nan if summary is None else self.closeness.value(summary))
        self._metrics = None

    def metrics(self) -> dict[str, float]:
        if self._metrics is None:
            # A detector says why there is nothing to tell of its boxes.
            is_told = isinstance(self.closeness, BoxCloseness) or not np.isnan(self._values).all()
            self._metrics = self.closeness.metrics(self._summaries) if is_told else {}
        return self._metrics

    def worst(self, name_of: Callable[[int], str | None]) -> WorstImage | None:
        values: NDArray[Any] = np.array(self._values)
        if np.isnan(values).all():
            return None
        index = int(np.nanargmin(values) if self.higher_is_closer else np.nanargmax(values))
        return _worst(index, self.closeness.image_metric, float(values[index]), name_of)


def _worst(index: int, metric: str, value: float, name_of: Callable[[int], str | None]) -> WorstImage | None:
    known = finite_or_none(value)
    if known is None:
        return None
    return WorstImage(index=index, name=name_of(index), metric=metric, value=known)


def _entry(
    name: str, kind: str, description: str | None, metrics: Mapping[str, float], worst: WorstImage | None
) -> OutputQuality:
    finite = {metric: value for metric, value in metrics.items() if np.isfinite(value)}
    rare = {"description": description, "worst": worst}
    entry = OutputQuality(name=name, kind=kind, metrics=finite)
    return entry.model_copy(update={key: value for key, value in rare.items() if value is not None})


def _ratio(signal: float, noise: float) -> float:
    """Signal-to-noise ratio in dB, within `LARGEST_RATIO` on either side."""
    ratio = 10 * float(np.log10(signal / max(noise, _SMALLEST_ENERGY))) if noise < np.inf else -LARGEST_RATIO
    return float(np.clip(ratio, -LARGEST_RATIO, LARGEST_RATIO))
