"""Does the deployed model do what the quantized model does with the images that it preprocesses itself?"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import openvino as ov
from numpy.typing import NDArray
from PIL import Image

from nncf_mcq.data.letterbox import INTERPOLATIONS
from nncf_mcq.deployment.document import CheckReport
from nncf_mcq.deployment.image_input import ImageInput
from nncf_mcq.errors import ConfigError, QuantizationError, VerificationError
from nncf_mcq.ir.runtime_graph import runtime_precisions
from nncf_mcq.ir.verification import ROUNDING_TOLERANCE, verify
from nncf_mcq.job import Job
from nncf_mcq.latency.clock import TimedModel, measure_interleaved
from nncf_mcq.model.inference import FloatPrecision, compile_model
from nncf_mcq.policy import INT8_PRECISIONS

_IMAGES: Final = 16
_RESIZED: Final = 4
_SECONDS: Final = 0.5
_GREY: Final = 128
_COARSE: Final = 8


@dataclass(frozen=True)
class Checked:
    """What was found and measured.

    Attributes:
        report: The comparison.
        milliseconds: Of an inference of both.
    """

    report: CheckReport
    milliseconds: dict[str, float]


def check(
    packed: ov.Model,
    deployed: Path,
    image_input: ImageInput,
    job: Job,
    precision: FloatPrecision,
) -> Checked:
    """Runs the quantized model on preprocessed images and the deployed one on the images themselves.

    Args:
        packed: The quantized model.
        deployed: The .xml file of the other one.
        image_input: What is built into it.
        job: Whose images are taken, where they are at hand.
        precision: What float layers run in for the times; outputs are compared in f32.

    Raises:
        VerificationError: Outputs differ by more than roundings explain, or a layer has left the int8 kernels.
    """
    threads = job.config.runtime.threads
    pixels, source = _pixels(image_input, job)
    inputs = list(_batches(pixels, image_input.batch))
    compiled = compile_model(packed, threads)
    references = [_outputs(compiled, image_input.network_input(images)) for images in inputs]
    before = runtime_precisions(compiled, packed)
    found = verify(deployed, sorted(before), inputs, references, threads, ROUNDING_TOLERANCE)
    lost = sorted(
        name
        for name, precision in before.items()
        if precision in INT8_PRECISIONS and found.precisions.get(name) not in INT8_PRECISIONS
    )
    if not found.passed:
        raise VerificationError(
            f"the model with its preprocessing does not give the outputs of the quantized one: {found.problems[0]}"
        )
    if lost:
        raise VerificationError(f"with the preprocessing built in, {len(lost)} layers leave int8 kernels: {lost[0]}")
    resized = None
    model = ov.Core().read_model(deployed)
    if image_input.resize is not None:
        resized = _resize_difference(
            compiled, compile_model(model, threads), image_input, inputs[:_RESIZED], references
        )
    times = measure_interleaved(
        {
            "quantized": _timed(packed, image_input.network_input(inputs[0]), threads, precision),
            "deployed": _timed(model, inputs[0], threads, precision),
        },
        _SECONDS,
    )
    report = CheckReport(
        images=len(pixels),
        source=source,
        difference=found.difference,
        integer_layers=sum(precision in INT8_PRECISIONS for precision in found.precisions.values()),
        layers=len(before),
        resize_difference=resized,
    )
    return Checked(report, times)


def _timed(model: ov.Model, values: NDArray[Any], threads: int, precision: FloatPrecision) -> TimedModel:
    return TimedModel(compile_model(model, threads, precision), [values])


def _batches(pixels: NDArray[np.uint8], rows: int) -> Iterator[NDArray[np.uint8]]:
    """Full batches; the images begin again where they do not fill the last one."""
    for start in range(0, len(pixels), rows):
        yield pixels[np.arange(start, start + rows) % len(pixels)]


def _outputs(compiled: ov.CompiledModel, values: NDArray[Any]) -> list[NDArray[Any]]:
    results = compiled(values)
    return [np.array(results[port]) for port in compiled.outputs]


def _pixels(image_input: ImageInput, job: Job) -> tuple[NDArray[np.uint8], str]:
    """Images of the network's size, and where they come from."""
    try:
        samples = job.load_dataset().calibration
        values = np.stack([np.asarray(samples[index][0]) for index in range(min(_IMAGES, len(samples)))])
        return image_input.images(values), "calibration images"
    except (ConfigError, QuantizationError, OSError):
        # The configuration may have come here without its images.
        return _random_images(image_input), "random images, as those of the configuration are not here"


def _random_images(image_input: ImageInput) -> NDArray[np.uint8]:
    """Smooth noise of several contrasts."""
    generator, (height, width) = np.random.default_rng(0), image_input.size
    found = []
    for index in range(_IMAGES):
        contrast = _GREY * (index + 1) / _IMAGES
        size = (max(height // _COARSE, 1), max(width // _COARSE, 1), image_input.channels)
        coarse = (_GREY + generator.uniform(-contrast, contrast, size)).clip(0, 255).astype(np.uint8)
        found.append(_resized(coarse, image_input, (height, width)))
    return np.stack(found)


def _resized(image: NDArray[np.uint8], image_input: ImageInput, size: tuple[int, int]) -> NDArray[np.uint8]:
    """As Pillow does it, (height, width, channels)."""
    is_grey = image_input.channels == 1
    picture = Image.fromarray(image[..., 0] if is_grey else image)
    made = np.asarray(picture.resize((size[1], size[0]), INTERPOLATIONS[image_input.resize or "bilinear"]))
    return made[..., None] if is_grey else made


def _resize_difference(
    packed: ov.CompiledModel,
    deployed: ov.CompiledModel,
    image_input: ImageInput,
    inputs: Sequence[NDArray[np.uint8]],
    references: Sequence[Sequence[NDArray[Any]]],
) -> float:
    """The largest difference of an output on images that the model resizes itself, relative to its range."""
    height, width = image_input.size
    worst = 0.0
    for number, images in enumerate(inputs):
        size = (height + (number + 1) * height // 3, width + (number + 1) * width // 5)
        large = np.stack([_resized(image, image_input, size) for image in images])
        small = np.stack([_resized(image, image_input, (height, width)) for image in large])
        expected = _outputs(packed, image_input.network_input(small))
        for index, (output, reference) in enumerate(zip(_outputs(deployed, large), expected, strict=True)):
            extent = float(np.ptp(np.concatenate([of_image[index].ravel() for of_image in references])))
            worst = max(worst, float(np.abs(output - reference).max()) / (extent or 1.0))
    return worst
