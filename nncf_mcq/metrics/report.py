"""Measuring models on the same samples: metrics against targets, and how far each is from the float model."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import numpy as np
import openvino as ov
from numpy.typing import NDArray

from nncf_mcq.data.chunks import chunks, stack_inputs
from nncf_mcq.data.splits import Target
from nncf_mcq.errors import ConfigError, QuantizationError
from nncf_mcq.metrics.metrics import Metric, SampleMetric, is_classifier, label_free_metrics, stack_targets
from nncf_mcq.model.outputs import describe_outputs
from nncf_mcq.model.runner import ModelRunner, samples_per_chunk
from nncf_mcq.model.samples import Arrays, in_order, samples_in_batch, to_array

_EXACT = 200.0
"""Ratio in dB that stands for outputs which are equal, or differ by less than any arithmetic would show."""


class Report:
    """Measures models: the float model first, whose outputs the others are then compared with.

    Each thread runs inferences of its own. The samples are read in chunks, and of the outputs only what the metrics
    need is kept: there may be more of both than fit into memory.

    Args:
        samples: Begins a new pass over the samples: the inputs of each (an array, or a tuple or mapping by name of one
            for each input of the model, without the batch) and its target.
        metrics: Name to metric.
        threads: Inference threads.
    """

    def __init__(
        self, samples: Callable[[], Iterable[tuple[Any, Target]]], metrics: Mapping[str, Metric], threads: int
    ) -> None:
        self._samples = samples
        self._metrics = metrics
        self._threads = threads
        self._float_model: ov.Model | None = None
        self._reference = np.empty(0, dtype=np.float32)
        self._rows: list[int] = []
        self._compares_outputs = False

    def check(self, model: ov.Model) -> None:
        """Finds metrics that are not for the outputs of a model, on one sample.

        Args:
            model: The float model.

        Raises:
            ConfigError: There is one.
            QuantizationError: There are no samples.
        """
        output, target = next(self._outputs(model, chunk_size=1))
        for name, metric in self._metrics.items():
            try:
                if isinstance(metric, SampleMetric):
                    metric.summarize(output, target)
                else:
                    metric(output, stack_targets([target]))
            except (AttributeError, IndexError, TypeError, ValueError) as error:
                raise ConfigError("metric", name, f"one for the outputs and labels of this job ({error})") from error

    def __call__(self, model: ov.Model) -> dict[str, float]:
        """The metrics of a model; how far it is from the first one, unless it is that one.

        That is agreement and divergence for a classifier, and the signal-to-noise ratio of each output in dB where
        there are several or the model is none.

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
        noise = None if self._float_model is None or not self._compares_outputs else _Noise(self._float_model)
        for output, target in self._outputs(model, noise=noise):
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
            return values
        # Rows whose number depends on the sample are no classifier's, and those of two models are of other things.
        is_comparable = rows == self._rows and len(set(rows)) == 1
        label_free = label_free_metrics(stacked, self._reference) if is_comparable else {}
        return values | label_free | ({} if noise is None else noise.ratios())

    def _outputs(
        self, model: ov.Model, chunk_size: int | None = None, noise: _Noise | None = None
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
            if noise is None
            else ModelRunner.compile(noise.model, self._threads, batch_size=batch_size, parallel=True)
        )
        size = chunk_size or samples_per_chunk([runner])
        for inputs, targets in chunks(itertools.chain([first], samples), size):
            found = runner.batches(inputs)
            if noise is not None and expected is not None:
                for outputs, wanted in zip(found, expected.batches(inputs), strict=True):
                    noise.add(outputs, wanted)
            firsts = [outputs[0] for outputs in found]
            if runner.batch_size > 1:
                counts = [
                    min(runner.batch_size, len(targets) - start) for start in range(0, len(targets), runner.batch_size)
                ]
                firsts = [
                    part for output, count in zip(firsts, counts, strict=True) for part in np.split(output, count)
                ]
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


class _Noise:
    """Energy of the float outputs and of the differences from them.

    Args:
        model: The float model.
    """

    def __init__(self, model: ov.Model) -> None:
        self.model = model
        self._names = [output.name for output in describe_outputs(model)]
        self._signal, self._noise = np.zeros(len(self._names)), np.zeros(len(self._names))

    def add(self, outputs: Arrays, reference: Arrays) -> None:
        for index, (found, expected) in enumerate(zip(outputs, reference, strict=True)):
            if found.shape == expected.shape and np.issubdtype(expected.dtype, np.floating):
                self._signal[index] += np.square(expected.astype(np.float64)).sum()
                self._noise[index] += np.square(found.astype(np.float64) - expected).sum()

    def ratios(self) -> dict[str, float]:
        """The worst output's signal-to-noise ratio, and where there are several that of each, in dB."""
        measured = [index for index in range(len(self._names)) if self._signal[index] > 0]
        ratios = {
            self._names[index]: min(10 * float(np.log10(self._signal[index] / max(self._noise[index], 1e-300))), _EXACT)
            for index in measured
        }
        if not ratios:
            return {}
        each = {f"sqnr_db {name}": ratio for name, ratio in ratios.items()} if len(self._names) > 1 else {}
        return {"sqnr_db": min(ratios.values()), **each}
