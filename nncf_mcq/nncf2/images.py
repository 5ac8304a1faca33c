"""The images that a script of NNCF 2 has registered."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

import nncf
import torch
from nncf import NNCFConfig
from nncf.config.structures import QuantizationRangeInitArgs
from nncf.torch.initialization import wrap_dataloader_for_init
from numpy.typing import NDArray

from nncf_mcq.errors import ConfigError


@dataclass(frozen=True)
class Inputs:
    """What a model is called with for one image.

    Attributes:
        positional: Tensors of batch size 1.
        named: The same by the name of the parameter.
    """

    positional: tuple[torch.Tensor, ...]
    named: dict[str, torch.Tensor] = field(default_factory=dict)

    @property
    def arrays(self) -> tuple[NDArray[Any], ...] | dict[str, NDArray[Any]]:
        """The same for `nncf_mcq.quantize`.

        Raises:
            ConfigError: Some inputs have names and some have not.
        """
        if self.positional and self.named:
            raise ConfigError("the data loader", "positional and named inputs", "inputs that are all of one of the two")
        if self.named:
            return {name: value.cpu().numpy() for name, value in self.named.items()}
        return tuple(value.cpu().numpy() for value in self.positional)

    @property
    def sizes(self) -> list[dict[str, Any]]:
        """`input_info` of the model."""
        named = [{"sample_size": list(value.shape), "keyword": name} for name, value in self.named.items()]
        return [*({"sample_size": list(value.shape)} for value in self.positional), *named]


def registered_images(config: NNCFConfig, limit: int) -> list[Inputs]:
    """The first images of the loader that `register_default_init_args` was called with.

    Args:
        config: The configuration.
        limit: Most images.

    Raises:
        ConfigError: There is no loader, or it has no image, or gives something else than tensors.
    """
    if not config.has_extra_struct(QuantizationRangeInitArgs):
        raise ConfigError(
            "nncf_config", "no images", "a data loader, by nncf.torch.register_default_init_args(nncf_config, loader)"
        )
    loader = wrap_dataloader_for_init(config.get_extra_struct(QuantizationRangeInitArgs).data_loader)
    found = list(islice(_images(loader), limit))
    if not found:
        raise ConfigError("nncf_config", "a data loader without images", "one image or more")
    return found


def as_dataset(images: Sequence[Inputs]) -> nncf.Dataset:
    """Images as `nncf_mcq.quantize` takes them."""
    return nncf.Dataset([image.arrays for image in images])


def _images(loader: Any) -> Iterator[Inputs]:
    for item in loader:
        arguments, keywords = loader.get_inputs(item)
        tensors = [*arguments, *keywords.values()]
        if not all(isinstance(value, torch.Tensor) and value.ndim for value in tensors):
            found = [type(value).__name__ for value in tensors]
            raise ConfigError("the data loader", found, "tensors with the images along the first dimension")
        for row in range(min((len(value) for value in tensors), default=0)):
            one = slice(row, row + 1)
            yield Inputs(
                tuple(value[one].detach() for value in arguments),
                {name: value[one].detach() for name, value in keywords.items()},
            )
