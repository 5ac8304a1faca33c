"""Images made of nothing but a trained network: its batch normalization remembers what its training images did."""

from __future__ import annotations

import copy
import math
import threading
from collections.abc import Callable, Sequence

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from nncf_mcq.data.distillation_parameters import DistillationParameters
from nncf_mcq.errors import QuantizationError
from nncf_mcq.utils.torch_threads import TorchPool

_COARSE_SIDE = 64
"""Images whose sides are at least twice this are first made at half their size, which costs a quarter."""

_SHIFT = 8
"""Large images are moved by up to this part of their side, so that no pattern can rely on where the strides fall."""

_GREY, _COLOUR = 0.9, 0.4
"""Deviation of what the channels of the first noise share, and of what each has of its own."""


def has_statistics(module: nn.Module) -> bool:
    """Whether a network has the running statistics that images are distilled from."""
    return any(_is_source(part) for part in module.modules())


def distill(
    module: nn.Module,
    shape: Sequence[int],
    count: int,
    parameters: DistillationParameters,
    *,
    threads: int = 1,
    progress: Callable[[], None] = lambda: None,
) -> NDArray[np.float32]:
    """Images for which the batches' mean and deviation before each batch normalization are the running ones.

    Args:
        module: A network with batch normalization that has running statistics; not edited.
        shape: Of one input, without the batch dimension: channels first.
        count: Number of images. They are made in batches of nearly equal size.
        parameters: How.
        threads: Batches side by side, each in one thread, so that the images do not depend on their number.
        progress: Called after each of `steps(...)` steps.

    Returns:
        (count, *shape) images.

    Raises:
        QuantizationError: The network has no batch normalization with running statistics, or does not take the shape.

    Sources: Cai et al., "ZeroQ: A Novel Zero Shot Quantization Framework", CVPR 2020: gradient descent on the input
    until means and deviations are the running ones. Different from there: differences are relative to the running
    deviation, so that each layer counts the same (much as in the divergence of two Gaussians of Haroush et al., "The
    Knowledge Within", CVPR 2020, who also draw a class for each image); total variation and random shifts (Yin et al.,
    "Dreaming to Distill", CVPR 2020); half the resolution first; and noise with the spectrum 1/f of natural images
    (Field, JOSA A 4(12), 1987) to begin with rather than white noise.
    """
    if not has_statistics(module):
        raise QuantizationError("the network has no batch normalization with running statistics to distill images from")
    number = math.ceil(count / parameters.batch_size)
    sizes = [len(part) for part in np.array_split(np.arange(count), number)]
    lock = threading.Lock()

    def advance() -> None:
        with lock:
            progress()

    def make(index: int) -> Tensor:
        generator = torch.Generator().manual_seed((parameters.seed << 20) + index)
        return _Batch(module, shape, sizes[index], parameters, generator).distill(advance)

    with TorchPool(threads) as pool:
        return torch.cat(list(pool.map(make, range(number)))).numpy()


def steps(shape: Sequence[int], count: int, parameters: DistillationParameters) -> int:
    """How often `distill` reports progress."""
    each = parameters.iterations + (parameters.refinements if _is_large(shape) else 0)
    return math.ceil(count / parameters.batch_size) * each


class _Batch:
    """One batch, from noise to images.

    Args:
        module: The network.
        shape: Of one image.
        size: Number of images.
        parameters: How.
        generator: Of all that is random.
    """

    def __init__(
        self,
        module: nn.Module,
        shape: Sequence[int],
        size: int,
        parameters: DistillationParameters,
        generator: torch.Generator,
    ) -> None:
        self._layout = torch.channels_last if len(shape) == 3 else torch.contiguous_format
        # A copy for each thread: the hooks belong to one batch.
        self._module = copy.deepcopy(module).eval().requires_grad_(False).to(memory_format=self._layout)
        self._differences: list[Tensor] = []
        for part in self._module.modules():
            if _is_source(part):
                part.register_forward_pre_hook(self._compare)
        self._shape = tuple(shape)
        self._size = size
        self._parameters = parameters
        self._generator = generator
        low, high = parameters.input_range or (-math.inf, math.inf)
        self._range = (low, high)
        self._center = (low + high) / 2 if parameters.input_range else 0.0
        self._deviation = (high - low) / 4 if parameters.input_range else 1.0

    def distill(self, progress: Callable[[], None]) -> Tensor:
        """The images."""
        channels, *sides = self._shape
        large = _is_large(self._shape)
        first = [side // 2 for side in sides] if large else sides
        images = self._noise(channels, first)
        classes = self._classes(images)
        images = self._descend(images, classes, self._parameters.iterations, self._parameters.learning_rate, progress)
        if large:
            images = F.interpolate(images, size=sides, mode="bilinear", align_corners=False)
            rate = self._parameters.learning_rate / 2
            images = self._descend(images, classes, self._parameters.refinements, rate, progress)
        return images.contiguous()

    def _descend(
        self, images: Tensor, classes: Tensor | None, iterations: int, rate: float, progress: Callable[[], None]
    ) -> Tensor:
        images = images.contiguous(memory_format=self._layout).requires_grad_()
        optimizer = torch.optim.Adam([images], lr=rate * self._deviation)
        for iteration in range(iterations):
            for group in optimizer.param_groups:
                group["lr"] = rate * self._deviation * (1 + math.cos(math.pi * iteration / iterations)) / 2
            optimizer.zero_grad()
            self._loss(images, classes).backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            with torch.no_grad():
                images.clamp_(*self._range)
            progress()
        return images.detach()

    def _loss(self, images: Tensor, classes: Tensor | None) -> Tensor:
        output = self._run(self._shifted(images))
        loss = torch.stack(self._differences).mean()
        if classes is not None:
            loss = loss + self._parameters.class_weight * F.cross_entropy(output, classes)
        for dimension in range(2, images.ndim):
            variation = images.diff(dim=dimension).abs().mean() / self._deviation
            loss = loss + self._parameters.smoothness * variation
        return loss

    def _run(self, images: Tensor) -> Tensor:
        self._differences.clear()
        output = self._module(images)
        if not self._differences:
            raise QuantizationError(
                "no batch normalization of the network is reached: there is nothing to distill from"
            )
        return output if isinstance(output, Tensor) else torch.empty(0)

    def _compare(self, part: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        """How far mean and deviation of each channel are from the running ones, in running deviations."""
        assert isinstance(part, _BatchNorm) and part.running_mean is not None and part.running_var is not None
        values = inputs[0]
        dimensions = [dimension for dimension in range(values.ndim) if dimension != 1]
        variance, mean = torch.var_mean(values, dim=dimensions, correction=0)
        deviation = (part.running_var + part.eps).sqrt()
        ratio = (variance + part.eps).sqrt() / deviation
        self._differences.append(((mean - part.running_mean) / deviation).square().mean() + (ratio - 1).square().mean())

    def _classes(self, images: Tensor) -> Tensor | None:
        """A random class for each image; None where the network is no classifier."""
        with torch.no_grad():
            output = self._run(images)
        if output.ndim != 2 or output.shape[1] < 2 or not self._parameters.class_weight:
            return None
        return torch.randint(0, output.shape[1], (self._size,), generator=self._generator)

    def _noise(self, channels: int, sides: Sequence[int]) -> Tensor:
        """Noise whose amplitude falls with the frequency, and whose channels have most in common."""
        squares: Tensor = torch.zeros(())
        for dimension, side in enumerate(sides):
            frequencies = torch.fft.rfftfreq(side) if dimension == len(sides) - 1 else torch.fft.fftfreq(side)
            squares = squares[..., None] + frequencies.square()
        amplitude = 1 / squares.clamp(min=1 / max([1, *sides]) ** 2).sqrt()

        def noise(number: int) -> Tensor:
            white = torch.randn((self._size, number, *sides), generator=self._generator)
            if not sides:
                return white
            dimensions = tuple(range(2, white.ndim))
            values = torch.fft.irfftn(torch.fft.rfftn(white, dim=dimensions) * amplitude, s=sides, dim=dimensions)
            deviation: Tensor = values / values.std(dim=dimensions, keepdim=True).clamp(min=1e-6)
            return deviation

        values = _GREY * noise(1) + _COLOUR * noise(channels)
        return (self._center + self._deviation * values).clamp(*self._range)

    def _shifted(self, images: Tensor) -> Tensor:
        dimensions = tuple(range(2, images.ndim))
        if not _is_large(images.shape[1:], 1):
            return images
        shifts = [
            int(torch.randint(0, images.shape[dimension] // _SHIFT + 1, (), generator=self._generator))
            for dimension in dimensions
        ]
        return images.roll(shifts, dimensions)


def _is_source(part: nn.Module) -> bool:
    return isinstance(part, _BatchNorm) and part.running_mean is not None and part.running_var is not None


def _is_large(shape: Sequence[int], sizes: int = 2) -> bool:
    """Whether images are large enough to be made at half their size first."""
    return len(shape) == 3 and min(shape[1:]) >= sizes * _COARSE_SIDE
