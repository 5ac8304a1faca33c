"""Base of the methods that tune a quantized model, and the task that they are given."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, field

from pydantic import Field

from nncf_mcq.config.parameters import NamedParameters
from nncf_mcq.config.registry import TUNING_PARAMETERS, Configurable, Registry
from nncf_mcq.metrics.output_scores import OutputScores
from nncf_mcq.model.samples import Samples
from nncf_mcq.training.module import TrainingModule
from nncf_mcq.training.tuning.checkpoint import Checkpoint


def _nothing() -> None:
    """Shows no progress."""


@dataclass(frozen=True)
class TuningTask:
    """What a method tunes, and on what.

    Attributes:
        module: The quantized model, tuned in place.
        images: Samples to tune on.
        scores: Distance of the outputs from the float model's, which the search minimized.
        threads: Images that are worked on side by side.
        batch_size: Samples that may be run together without a change of the outputs.
        checkpoint: Where unfinished work is kept.
        progress: Called after each step.
    """

    module: TrainingModule
    images: Samples = field(repr=False)
    scores: OutputScores
    threads: int = 1
    batch_size: int = 1
    checkpoint: Checkpoint = field(default_factory=Checkpoint)
    progress: Callable[[], None] = _nothing


class Tuning(Configurable, ABC):
    """Tunes the weights, scales and biases of a quantized model; bit-widths stay.

    Args:
        parameters: An instance of the class's own `Parameters`, as validated from the JSON.
    """

    class Parameters(NamedParameters):
        """Parameters in the JSON; a subclass narrows `type` to its name."""

        images: int = Field(
            default=1024,
            ge=1,
            description="Largest number of images, taken from the calibration images, of which there may be more than "
            "num_init_samples. An eighth of them, at most 128, serves for nothing but the decision whether the tuned "
            "model is kept.",
        )

    parameters: Parameters

    @property
    @abstractmethod
    def steps(self) -> int:
        """Number of times that the progress is reported."""

    def check(self) -> None:
        """Finds what this machine cannot do, before a search begins.

        Raises:
            QuantizationError: The tuning cannot run here.
        """

    @abstractmethod
    def tune(self, task: TuningTask) -> None:
        """Tunes the module in place.

        Raises:
            QuantizationError: The outputs of the model cannot be tuned for, or the loss is not finite.
        """


TUNINGS: Registry[Tuning] = Registry(TUNING_PARAMETERS)
"""The registered methods by name."""
