"""Policy and budget: plain data that every later stage reads."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import NonNegativeFloat, PositiveFloat, PositiveInt, model_validator

from nncf_mcq.errors import ConfigError
from nncf_mcq.registry import Parameters, PathMarker

SUPPORTED_BITS = (2, 3, 4, 5, 6, 7, 8)
"""Widths that weights and activations can have."""

FLOAT = 16
"""Stands for a layer that is left in floating point: its weights are stored as f16, so it costs 16 bits a weight."""

FLOAT_NAME = "float"
"""What the JSON calls it."""

PolicyKey = tuple[tuple[tuple[str, int], ...], tuple[tuple[str, int], ...]]
"""Names and widths of weights, and of activation quantizers."""


@dataclass(frozen=True)
class Policy:
    """How many bits each layer's weights and each activation quantizer get.

    Attributes:
        weight_bits: Layer name to the width of its weights, or `FLOAT`.
        activation_bits: Activation quantizer name to its width.
    """

    weight_bits: Mapping[str, int]
    activation_bits: Mapping[str, int] = field(default_factory=dict)

    @property
    def key(self) -> PolicyKey:
        """A hashable identity: equal for equal policies."""
        return tuple(sorted(self.weight_bits.items())), tuple(sorted(self.activation_bits.items()))

    @property
    def float_layers(self) -> frozenset[str]:
        """Names of the layers that are left in floating point."""
        return frozenset(name for name, bits in self.weight_bits.items() if bits == FLOAT)

    def to_dict(self) -> dict[str, dict[str, int | str]]:
        """The JSON form, read back by `from_dict`."""
        weight_bits = {name: FLOAT_NAME if bits == FLOAT else bits for name, bits in self.weight_bits.items()}
        return {"weight_bits": weight_bits, "activation_bits": dict(self.activation_bits)}

    @classmethod
    def from_dict(cls, data: Any, path: str = "policy") -> Policy:
        """Reads the JSON form.

        Raises:
            ConfigError: A width is not one of 2..8, nor a layer's "float", or a section is missing or unknown.
        """
        sections = ("weight_bits", "activation_bits")
        if not isinstance(data, dict) or "weight_bits" not in data or not set(data) <= set(sections):
            raise ConfigError(path, data, "an object with weight_bits and activation_bits")
        for section in sections:
            widths = data.get(section, {})
            if not isinstance(widths, dict):
                raise ConfigError(f"{path}.{section}", widths, "an object of names and bits")
            others = [FLOAT_NAME] if section == "weight_bits" else []
            for name, bits in widths.items():
                if isinstance(bits, bool) or bits not in [*SUPPORTED_BITS, *others]:
                    raise ConfigError(f"{path}.{section}[{name!r}]", bits, f"one of {[*SUPPORTED_BITS, *others]}")
        weight_bits = {name: FLOAT if bits == FLOAT_NAME else bits for name, bits in data["weight_bits"].items()}
        return cls(weight_bits, dict(data.get("activation_bits", {})))

    @classmethod
    def from_file(cls, file: Path) -> Policy:
        """Reads a `policy.json`.

        Raises:
            ConfigError: The file is missing, is not JSON, or holds no policy.
        """
        try:
            data = json.loads(file.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise ConfigError("policy", str(file), f"a readable policy.json ({error})") from error
        return cls.from_dict(data.get("policy", data) if isinstance(data, dict) else data, str(file))


class WeightSizeBudget(Parameters):
    """A limit on the size of the weights; exactly one of the three."""

    average_bits: PositiveFloat | None = None
    """Mean width over all weights of the quantizable layers, in bits."""
    bytes: PositiveInt | None = None
    """Size of the whole .bin file, scales, biases and float constants included, in bytes."""
    ratio: PositiveFloat | None = None
    """Bits of the quantizable weights relative to FP32: 0.125 means 4 bits on average."""

    @model_validator(mode="after")
    def _exactly_one(self) -> WeightSizeBudget:
        if sum(value is not None for value in (self.average_bits, self.bytes, self.ratio)) != 1:
            raise ValueError("exactly one of average_bits, bytes, ratio")
        return self


class BopsBudget(Parameters):
    """A limit on bit operations: the sum of MACs x weight bits x activation bits over the layers; one of the two."""

    total: PositiveFloat | None = None
    """Bit operations of one input."""
    ratio: NonNegativeFloat | None = None
    """Relative to the same layers at 8-bit weights and 8-bit activations."""

    @model_validator(mode="after")
    def _exactly_one(self) -> BopsBudget:
        if sum(value is not None for value in (self.total, self.ratio)) != 1:
            raise ValueError("exactly one of total, ratio")
        return self


class LatencyBudget(Parameters):
    """A limit on the time of one inference on this machine; layers may then stay in floating point.

    All widths run on the same int8 kernels, so a limit of 1 allows no float layer, and one below 1 cannot be met.
    """

    ratio_to_int8: PositiveFloat
    """Relative to the model with all layers in int8, e.g. 1.1."""
    precision: Literal["f32", "bf16"] = "f32"
    """What float layers will run in: the INFERENCE_PRECISION_HINT that the model will be compiled with. Policies are
    scored in f32 all the same."""
    table: Annotated[str | None, PathMarker()] = None
    """A file of `nncf-mcq latency-table`, e.g. of another machine; by default one is measured here, and kept."""


class Budget(Parameters):
    """The hard limits of a search; every one that is given must hold."""

    weight_size: WeightSizeBudget | None = None
    bops: BopsBudget | None = None
    latency: LatencyBudget | None = None

    @model_validator(mode="after")
    def _at_least_one(self) -> Budget:
        if self.weight_size is None and self.bops is None and self.latency is None:
            raise ValueError("at least one of weight_size, bops, latency")
        return self
