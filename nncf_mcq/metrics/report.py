"""Measuring models on the same samples: metrics against targets, and how far each is from the float model."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import openvino as ov
from numpy.typing import NDArray

from nncf_mcq.config.quality_report import OutputKind, QualityReport
from nncf_mcq.data.chunks import chunks, stack_inputs
from nncf_mcq.data.splits import Target
from nncf_mcq.errors import ConfigError, QuantizationError
from nncf_mcq.metrics.metrics import Metric, SampleMetric, is_classifier, label_free_metrics, stack_targets
from nncf_mcq.metrics.quality import Quality
from nncf_mcq.metrics.recognition import RECOGNIZED_ON, RecognizedOutputs, misfit, recognize_outputs
from nncf_mcq.model.outputs import describe_outputs
from nncf_mcq.model.runner import ModelRunner, samples_per_chunk
from nncf_mcq.model.samples import Arrays, in_order, samples_in_batch, to_array


@dataclass(frozen=True)
class Measured:
    """Measurement of a model.

    Attributes:
        metrics: By name.
        quality: How close its outputs come to the float model's; None of the float model itself.
    """

    metrics: dict[str, float]
    quality: QualityReport | None = None


class Report:
    """Measures models: the float model first, whose outputs the others are then compared with.

    Each thread runs inferences of its own. The samples are read in chunks, and of the outputs only what the metrics
    need is kept: there may be more of both than fit into memory.

    Args:
        samples: Begins a new pass over the samples: the inputs of each (an array, or a tuple or mapping by name of one
            for each input of the model, without the batch) and its target.
        metrics: Name to metric.
        threads: Inference threads.
        kinds: Name of an output to what it is, where that is known better than it can be recognized.
        name_of: From the index of a sample to the name of its file.
        images: Whether these are test images, or the model was calibrated on them.
    """

    def __init__(
        self,
        samples: Callable[[], Iterable[tuple[Any, Target]]],
        metrics: Mapping[str, Metric],
        threads: int,
        *,
        kinds: Mapping[str, OutputKind] | None = None,
        name_of: Callable[[int], str | None] = lambda index: None,
        images: Literal["test", "calibration"] = "test",
    ) -> None:
        self._samples = samples
        self._metrics = metrics
        self._threads = threads
        self._kinds = kinds or {}
        self._name_of = name_of
        self._images = images
        self._float_model: ov.Model | None = None
        self._reference = np.empty(0, dtype=np.float32)
        self._rows: list[int] = []
        self._compares_outputs = False
        self._recognized: RecognizedOutputs | None = None

    def check(self, model: ov.Model) -> None:
        """Finds metrics that are not for the outputs of a model, on one sample, and names of outputs that it has not.

        Args:
            model: The float model.

        Raises:
            ConfigError: There is one.
            QuantizationError: There are no samples.
        """
        names = [described.name for described in describe_outputs(model)]
        unknown = next((name for name in self._kinds if name not in names), None)
        if unknown is not None:
            raise ConfigError("outputs", unknown, f"an output of the model: {', '.join(names)}")
        output, target = next(self._outputs(model, chunk_size=1))
        if self._kinds:
            self._check_kinds(model)
        for name, metric in self._metrics.items():
            try:
                if isinstance(metric, SampleMetric):
                    metric.summarize(output, target)
                else:
                    metric(output, stack_targets([target]))
            except (AttributeError, IndexError, TypeError, ValueError) as error:
                raise ConfigError("metric", name, f"one for the outputs and labels of this job ({error})") from error

    def check_shape(self, model: ov.Model) -> None:
        """Finds samples of another shape than a model takes; runs nothing.

        Args:
            model: The float model.

        Raises:
            QuantizationError: The first sample does not fit.
        """
        for inputs, _ in itertools.islice(self._samples(), 1):
            _inputs(inputs, model)

    def _check_kinds(self, model: ov.Model) -> None:
        trial = Report(self._samples, {}, self._threads, kinds=self._kinds)
        trial._float_model = model
        distance = _Distance(trial)
        try:
            next(trial._outputs(model, chunk_size=1, distance=distance))
            assert distance.quality is not None
            distance.quality.metrics()
        except (IndexError, ValueError) as error:
            raise misfit(model, self._kinds) from error

    def __call__(self, model: ov.Model) -> dict[str, float]:
        """The metrics of a model alone, as in `measure`."""
        return self.measure(model).metrics

    def measure(self, model: ov.Model) -> Measured:
        """The metrics of a model; how far it is from the first one, unless it is that one.

        That is agreement and divergence for a classifier; for all other models what suits each output (see `Quality`),
        and always the signal-to-noise ratio in dB and the relative error.

        Args:
            model: The model.

        Raises:
            QuantizationError: There are no samples, or the model cannot be run on them.
        """
        # By the function: metrics that need the same of a sample share it.
        summaries: dict[Callable[..., Any], list[Any]] = {
            metric.summarize: [] for metric in self._metrics.values() if isinstance(metric, SampleMetric)
        }
        keeps_all = any(not isinstance(metric, SampleMetric) for metric in self._metrics.values())
        outputs: list[NDArray[np.float32]] = []
        targets: list[Target] = []
        distance = _Distance(self) if self._float_model is not None and self._compares_outputs else None
        for output, target in self._outputs(model, distance=distance):
            for summarize, found in summaries.items():
                found.append(summarize(output, target))
            if keeps_all or is_classifier(output):
                outputs.append(output)
                targets.append(target)
        stacked = np.concatenate(outputs or [np.empty(0, dtype=np.float32)])
        values = {
            name: metric.finish(summaries[metric.summarize])
            if isinstance(metric, SampleMetric)
            else metric(stacked, stack_targets(targets))
            for name, metric in self._metrics.items()
        }
        rows = [len(output) for output in outputs]
        if self._float_model is None:
            self._float_model, self._reference, self._rows = model, stacked, rows
            self._compares_outputs = len(model.outputs) > 1 or not is_classifier(stacked) or len(set(rows)) > 1
            return Measured(values)
        if distance is None:
            distance = _Distance(self)
            distance.add(_rows_of(stacked), _rows_of(self._reference))
        assert distance.quality is not None
        return Measured(
            values | self._label_free(distance, stacked, rows),
            QualityReport(
                images=self._images,
                count=distance.count,
                outputs=distance.quality.outputs(self._name_of),
                notes=distance.quality.notes,
                doubts=distance.quality.doubts,
            ),
        )

    def _label_free(self, distance: _Distance, stacked: NDArray[np.float32], rows: list[int]) -> dict[str, float]:
        """The distance from the float model in figures; of a model that is a classifier alone only these of one."""
        assert distance.quality is not None
        kinds = [output.kind for output in distance.recognized.kinds.values()]
        # Rows whose number depends on the sample are no classifier's, and those of two models are of other things.
        are_pairs = is_classifier(self._reference) and rows == self._rows and len(set(rows)) == 1
        if kinds in (["classes"], ["values"]) and are_pairs and np.isfinite(self._reference).all():
            return label_free_metrics(stacked, self._reference)
        return distance.quality.metrics()

    def recognize(self, images: Sequence[Arrays]) -> RecognizedOutputs:
        """What the outputs of the float model are; found once.

        Args:
            images: For each image, the array of each output.
        """
        if self._recognized is None:
            assert self._float_model is not None
            self._recognized = recognize_outputs(self._float_model, images, self._kinds)
        return self._recognized

    def _outputs(
        self, model: ov.Model, chunk_size: int | None = None, distance: _Distance | None = None
    ) -> Iterator[tuple[NDArray[np.float32], Target]]:
        """The first output (1, ...) and the target of each sample; all outputs are compared on the way."""
        samples = ((_inputs(inputs, model), target) for inputs, target in self._samples())
        first = next(samples, None)
        if first is None:
            raise QuantizationError("the data set is empty: give at least one image")
        # One sample at a time: each may have its own number of outputs, and larger batches are not faster. A model
        # that has a batch of its own takes that many of samples without one.
        batch_size = None if samples_in_batch(model, stack_inputs([first[0]])) > 1 else 1
        runner = ModelRunner.compile(model, self._threads, batch_size=batch_size, parallel=True)
        expected = (
            None
            if distance is None or self._float_model is None
            else ModelRunner.compile(self._float_model, self._threads, batch_size=batch_size, parallel=True)
        )
        size = chunk_size or samples_per_chunk([runner])
        for inputs, targets in chunks(itertools.chain([first], samples), size):
            found = _samples_of(runner.batches(inputs), runner.batch_size, len(targets))
            if distance is not None and expected is not None:
                distance.add(found, _samples_of(expected.batches(inputs), expected.batch_size, len(targets)))
            firsts = [outputs[0] for outputs in found]
            yield from zip(firsts, targets, strict=True)


def _inputs(inputs: Any, model: ov.Model) -> Any:
    """The inputs of a sample in the model's order."""
    if not isinstance(inputs, Mapping):
        count = len(inputs) if isinstance(inputs, tuple) else 1
        if count != len(model.inputs):
            raise QuantizationError(
                f"the samples: found {count} inputs, allowed: {len(model.inputs)}, as the model has"
            )
        _check_shapes(inputs if isinstance(inputs, tuple) else (inputs,), model)
        return inputs
    try:
        values = in_order(inputs, model)
    except ValueError as error:
        raise QuantizationError(f"the samples: {error}") from error
    arrays = tuple(to_array(value, port) for value, port in zip(values, model.inputs, strict=True))
    _check_shapes(arrays, model)
    return arrays


def _check_shapes(inputs: Arrays, model: ov.Model) -> None:
    """Refuses samples of another size or layout, which OpenVINO would refuse in its own words, or reorder."""
    for value, port in zip(inputs, model.inputs, strict=True):
        shape, found = port.get_partial_shape(), np.shape(value)
        if shape.rank.is_dynamic or len(shape) < 2:
            continue
        wanted = list(shape)[1:]
        rest = found[len(found) - len(wanted) :]
        if len(found) not in (len(wanted), len(shape)) or not ov.PartialShape(wanted).compatible(ov.PartialShape(rest)):
            allowed = ", ".join("?" if side.is_dynamic else str(side.get_length()) for side in wanted)
            raise QuantizationError(
                f"the test images: found shape {found}, allowed: ({allowed}), which the model takes; "
                "dataset.preprocessing (resize, crop, letterbox, layout) and input_info.sample_size decide it"
            )


def _rows_of(outputs: NDArray[np.float32]) -> list[Arrays]:
    """The outputs of each sample of a model of one output (N, classes)."""
    return [(outputs[index : index + 1],) for index in range(len(outputs))]


def _samples_of(batches: Sequence[Arrays], batch_size: int, count: int) -> list[Arrays]:
    """The outputs of each sample, of those of batches."""
    if batch_size == 1:
        return list(batches)
    counts = [min(batch_size, count - start) for start in range(0, count, batch_size)]
    return [
        sample
        for outputs, each in zip(batches, counts, strict=True)
        for sample in zip(*(np.split(output, each) for output in outputs), strict=True)
    ]


class _Distance:
    """Collects the distance of a model's outputs from those of the float model of a report."""

    def __init__(self, report: Report) -> None:
        self._report = report
        self.quality: Quality | None = None
        self.count = 0

    def add(self, found: Sequence[Arrays], expected: Sequence[Arrays]) -> None:
        """Adds images: each output of the model and of the float model for each of them."""
        self.recognized = self._report.recognize(expected[:RECOGNIZED_ON])
        self.quality = self.quality or Quality(self.recognized)
        for outputs, wanted in zip(found, expected, strict=True):
            self.quality.add(outputs, wanted)
        self.count += len(expected)
