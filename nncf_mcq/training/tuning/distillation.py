"""Distillation: the quantized model learns to give the outputs of the float model."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import torch
from pydantic import Field, NonNegativeFloat, PositiveInt
from torch import Tensor

from nncf_mcq.errors import QuantizationError
from nncf_mcq.model.samples import Samples, input_shapes
from nncf_mcq.policy import INT8_BITS
from nncf_mcq.training.module import TrainingModule, parts
from nncf_mcq.training.quantizers import ActivationQuantizer, Bias, LayerWeights, QuantizedWeights
from nncf_mcq.training.tuning.augmentation import Augmentation, are_images, augment
from nncf_mcq.training.tuning.base import TUNINGS, Tuning, TuningTask
from nncf_mcq.training.tuning.checkpoint import fingerprint
from nncf_mcq.training.tuning.losses import divergence
from nncf_mcq.utils.torch_threads import TorchPool

_PIECE = 8
"""Samples whose gradients are computed together: the pieces of a batch are worked on side by side, and its gradients do
not depend on the number of threads."""

ALL_AUGMENTATIONS: tuple[Augmentation, ...] = ("mirror", "crop", "mix")


@TUNINGS.register
class Distillation(Tuning):
    """Trains weights, steps and biases of all layers together, with the float model as the teacher.

    Gradients pass straight through the rounding of the weights; steps are learned; grids of activations of 8 bits stay
    as they are. No labels are needed.

    Args:
        parameters: An instance of the class's own `Parameters`, as validated from the JSON.

    Sources: Hinton, Vinyals and Dean, "Distilling the Knowledge in a Neural Network", 2015; Esser et al., "Learned Step
    Size Quantization", ICLR 2020.
    """

    class Parameters(Tuning.Parameters):
        """Parameters of the distillation."""

        type: Literal["distillation"] = "distillation"
        steps: PositiveInt = Field(default=1500, description="Number of steps.")
        batch_size: PositiveInt = Field(default=16, description="Images of each step.")
        learning_rate: NonNegativeFloat = Field(
            default=5e-3, description="First learning rate (Adam) of the weights, in levels; it falls to zero."
        )
        scale_learning_rate: NonNegativeFloat = Field(
            default=5e-4,
            description="First learning rate of the logarithms of the steps, and of the biases relative to those of "
            "their layer; it falls to zero.",
        )
        augmentation: list[Augmentation] | None = Field(
            default=None,
            description="Changes of the images. mirror: from left to right. crop: a part, enlarged. mix: with another "
            "image. null: all of them for a model of one input of images, none for others.",
        )
        seed: int = Field(default=0, ge=0, description="Of the order and the changes of the images.")
        device: Literal["cpu", "cuda"] = Field(default="cpu", description="Where PyTorch computes.")

    parameters: Parameters

    @property
    def steps(self) -> int:
        """Number of steps."""
        return self.parameters.steps

    def check(self) -> None:
        """Looks for the GPU, where one is asked for."""
        if self.parameters.device == "cuda" and not torch.cuda.is_available():
            raise QuantizationError("compression.tuning.device: found cuda, but PyTorch sees no GPU; allowed here: cpu")

    def tune(self, task: TuningTask) -> None:
        """Trains the module in place; goes on with the checkpoint where it is of the same training.

        Raises:
            QuantizationError: The outputs of the model cannot be tuned for, or the loss is not finite.
        """
        settings, module = self.parameters, task.module
        images = _Images(task.images, module, self._augmentations(module), settings.seed)
        identity = fingerprint(module.state_dict(), task.images, settings.model_dump(mode="json"))
        module.to(settings.device)
        optimizer = torch.optim.Adam(self._groups(module))
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, settings.steps)
        parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
        first = 0
        if (found := task.checkpoint.read(identity)) is not None:
            module.load_state_dict(found["module"])
            optimizer.load_state_dict(found["optimizer"])
            schedule.load_state_dict(found["schedule"])
            images.load_state_dict(found["images"])
            first = int(found["step"])
        for _ in range(first):
            task.progress()
        with TorchPool(task.threads) as pool:
            piece = min(_PIECE, task.batch_size) if settings.device == "cpu" else settings.batch_size

            def gradients(inputs: list[Tensor]) -> tuple[Tensor, ...]:
                inputs = [values.to(settings.device) for values in inputs]
                with torch.no_grad():
                    reference = module.teacher.outputs(inputs)
                loss = divergence(task.scores, module.graph.outputs(inputs, weights=module.weights()), reference)
                if not bool(torch.isfinite(loss)):
                    raise QuantizationError(f"tuning: the loss is not finite in step {step}")
                return torch.autograd.grad(loss, parameters, materialize_grads=True)

            for step in range(first + 1, settings.steps + 1):
                batch = images.draw(settings.batch_size)
                pieces = _pieces(batch, piece)
                shares = [len(inputs[0]) / sum(len(other[0]) for other in pieces) for inputs in pieces]
                totals = [torch.zeros_like(parameter) for parameter in parameters]
                # In the order of the pieces: sums in float32 depend on it.
                for found_gradients, share in zip(pool.map(gradients, pieces), shares, strict=True):
                    for total, gradient in zip(totals, found_gradients, strict=True):
                        total.add_(gradient, alpha=share)
                for parameter, total in zip(parameters, totals, strict=True):
                    parameter.grad = total
                optimizer.step()
                schedule.step()
                task.progress()
                if task.checkpoint.is_due():
                    state = {
                        "module": module.state_dict(),
                        "optimizer": optimizer.state_dict(),
                        "schedule": schedule.state_dict(),
                        "images": images.state_dict(),
                        "step": step,
                    }
                    task.checkpoint.write(identity, state)
        module.to("cpu")

    def _augmentations(self, module: TrainingModule) -> Sequence[Augmentation]:
        shapes = input_shapes(module.source.network.model)
        is_image = len(shapes) == 1 and are_images(shapes[0])
        chosen = self.parameters.augmentation
        if chosen and not is_image:
            raise QuantizationError(
                f"tuning.augmentation: found {', '.join(chosen)}, allowed: none, as the model does not take one input "
                "of images (N, 1 to 4 channels, height, width)"
            )
        return chosen if chosen is not None else ALL_AUGMENTATIONS if is_image else ()

    def _groups(self, module: TrainingModule) -> list[dict[str, Any]]:
        """The parameters that are trained, by their learning rates."""
        for quantizer in parts(module.activations, ActivationQuantizer):
            # Eight bits lose next to nothing on the grids that they have.
            quantizer.requires_grad_(int(quantizer.bits) < INT8_BITS)
        quantized = parts(module.quantized, LayerWeights)
        # Sequences of a trellis code stay as they were found.
        weights = [part.scaled for part in quantized if isinstance(part, QuantizedWeights)]
        steps = [part.step.log_ratio for part in quantized]
        steps += [parameter for parameter in module.activations.parameters() if parameter.requires_grad]
        # Weights in floating point stay: they are few, and right.
        module.floats.requires_grad_(False)
        rate = self.parameters.scale_learning_rate
        groups: list[dict[str, Any]] = [
            {"params": weights, "lr": self.parameters.learning_rate},
            {"params": steps, "lr": rate},
        ]
        # Biases are in the unit of the layer's output.
        groups += [
            {"params": [bias.values], "lr": rate * float(bias.values.detach().square().mean().sqrt())}
            for bias in parts(module.biases, Bias)
        ]
        return [group for group in groups if group["params"] and group["lr"]]


class _Images:
    """Draws batches of changed images, in the same order for the same seed.

    Args:
        samples: The images.
        module: Says what shapes its inputs have.
        augmentations: Changes.
        seed: Of the order and the changes.
    """

    def __init__(
        self, samples: Samples, module: TrainingModule, augmentations: Sequence[Augmentation], seed: int
    ) -> None:
        self._samples = samples
        self._shapes = input_shapes(module.source.network.model)
        self._augmentations = augmentations
        self._generator = torch.Generator().manual_seed(seed)
        self._order = torch.empty(0, dtype=torch.int64)

    def draw(self, size: int) -> list[list[Tensor]]:
        """The tensors of that many samples, one for each input; each image once before any comes again."""
        size = min(size, len(self._samples))
        if len(self._order) < size:
            self._order = torch.randperm(len(self._samples), generator=self._generator)
        chosen, self._order = self._order[:size], self._order[size:]
        batch = [
            [torch.from_numpy(values) for values in self._samples.tensors(index, self._shapes)]
            for index in chosen.tolist()
        ]
        if not self._augmentations:
            return batch
        images = augment(torch.cat([image for (image,) in batch]), self._augmentations, self._generator)
        return [[image] for image in torch.split(images, self._shapes[0][0])]

    def state_dict(self) -> dict[str, Tensor]:
        """What the next batches depend on."""
        return {"generator": self._generator.get_state(), "order": self._order}

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        """Goes on from there."""
        self._generator.set_state(state["generator"])
        self._order = state["order"]


def _pieces(batch: list[list[Tensor]], size: int) -> list[list[Tensor]]:
    """A batch in parts of so many samples, whose tensors are put together."""
    parts = [batch[start : start + size] for start in range(0, len(batch), size)]
    return [[_together(tensors) for tensors in zip(*part, strict=True)] for part in parts]


def _together(tensors: tuple[Tensor, ...]) -> Tensor:
    values = tensors[0] if len(tensors) == 1 else torch.cat(tensors)
    # Depthwise convolutions are several times faster on CPUs in this layout.
    return values.contiguous(memory_format=torch.channels_last) if values.ndim == 4 else values
