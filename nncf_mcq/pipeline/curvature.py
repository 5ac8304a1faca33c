"""Curvature of a network's output over each layer's weights, from passes back through the network."""

from __future__ import annotations

import itertools
from collections.abc import Callable

import numpy as np
import torch

from nncf_mcq.calibration.fisher import FISHER_IMAGES, collect_fisher
from nncf_mcq.model.layers import QuantizableModel
from nncf_mcq.model.samples import Samples
from nncf_mcq.precision_init.second_order import SecondOrder, collect_hessian_traces

Progress = Callable[[int, int], None]


class Curvature:
    """Fisher information and Hessian traces of the layers; the former are computed once.

    Args:
        quantizable: The float model and its layers.
        calibration: Samples, of which `FISHER_IMAGES` are used.
        threads: Images side by side.
    """

    def __init__(self, quantizable: QuantizableModel, calibration: Samples, threads: int) -> None:
        self._quantizable = quantizable
        self._calibration = calibration
        self._threads = threads
        self._fisher: dict[str, torch.Tensor] | None = None

    @property
    def images(self) -> Samples:
        """The images that are used, spread evenly over all: those may be sorted by class."""
        count = min(len(self._calibration), FISHER_IMAGES)
        return self._calibration[np.arange(count) * len(self._calibration) // count]

    @property
    def has_fisher(self) -> bool:
        """True once the Fisher information is known."""
        return self._fisher is not None

    def fisher(self, progress: Progress) -> dict[str, torch.Tensor]:
        """Layer name to the Fisher information of its weights, see `collect_fisher`.

        Args:
            progress: Called with (done, total) where it is not known yet.
        """
        if self._fisher is None:
            images = self.images
            advance = _counted(progress, len(images))
            self._fisher = collect_fisher(self._quantizable, images, threads=self._threads, progress=advance)
        return self._fisher

    def of(self, kind: SecondOrder, progress: Progress) -> dict[str, torch.Tensor]:
        """Stand-in for the Hessian in `second_order_sensitivities`, by layer name."""
        if kind == "fisher":
            return self.fisher(progress)
        images = self.images
        advance = _counted(progress, len(images))
        return collect_hessian_traces(self._quantizable, images, threads=self._threads, progress=advance)


def _counted(progress: Progress, total: int) -> Callable[[], None]:
    done = itertools.count(1)
    return lambda: progress(next(done), total)
