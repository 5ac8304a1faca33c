"""The latency of a policy, as the sum of what its float layers and its precision conversions add to int8."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Literal, Self

from pydantic import AliasChoices, BaseModel, ConfigDict, Field

from nncf_mcq.errors import ConfigError
from nncf_mcq.utils.documents import DocumentError, read_document


class LatencyKey(BaseModel):
    """Key of a table: what it is valid for.

    Attributes:
        cpu: The processor's name.
        capabilities: The precisions that it computes in, as OpenVINO names them.
        openvino: Version of the runtime.
        threads: Inference threads.
        precision: What float layers run in.
        model: Digest of the float model, its layers, input shape and activation quantizers.
        method: Version of the way in which it is measured.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    cpu: str
    capabilities: tuple[str, ...]
    openvino: str
    threads: int
    precision: Literal["f32", "bf16"]
    model: str
    method: int


class LayerLatency(BaseModel):
    """One group of layers that share their weights, mostly one layer.

    Attributes:
        int8_ms: Its share of the int8 model's time, in milliseconds.
        extra_ms: What it takes longer in floating point, without precision conversions.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    int8_ms: float
    extra_ms: float


class PrecisionConversion(BaseModel):
    """Two groups of layers, one of which reads what the other one yields.

    Attributes:
        source: Group that yields.
        target: Group that reads.
        ms: What it costs that one is int8 and the other one is not, in milliseconds.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    source: str
    target: str
    ms: float


class LatencyTable(BaseModel):
    """Latencies of one model on one machine, in milliseconds.

    Attributes:
        key: What it is valid for.
        int8_ms: All layers in int8.
        float_ms: All layers in floating point.
        layers: By group of layers.
        precision_conversions: Between groups; tables of older versions call them `switches`.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    key: LatencyKey
    int8_ms: float
    float_ms: float
    layers: Mapping[str, LayerLatency]
    precision_conversions: tuple[PrecisionConversion, ...] = Field(
        validation_alias=AliasChoices("precision_conversions", "switches")
    )

    def predict(self, float_groups: Collection[str]) -> float:
        """Milliseconds of the model with these groups in floating point.

        Args:
            float_groups: Names of groups. How many bits the others have makes no difference on int8 kernels.
        """
        chosen = frozenset(float_groups)
        extra = sum(self.layers[name].extra_ms for name in chosen)
        converting = sum(
            item.ms for item in self.precision_conversions if (item.source in chosen) != (item.target in chosen)
        )
        return self.int8_ms + extra + converting

    def alone(self, group: str) -> float:
        """Time that a group adds in floating point between int8 neighbours, conversions included; at least 0.

        The sum of these over a policy's float groups is at least what `predict` says, since neighbours that are both in
        floating point do not switch.
        """
        converting = sum(
            item.ms for item in self.precision_conversions if (item.source == group) != (item.target == group)
        )
        return max(self.layers[group].extra_ms + converting, 0.0)

    def upper_bound(self, float_groups: Collection[str]) -> float:
        """Latency that a search assumes, in milliseconds: with all conversions of each float group.

        Args:
            float_groups: Names of groups.
        """
        return self.int8_ms + sum(self.alone(name) for name in float_groups)

    def to_json(self) -> str:
        """The content of a file that `load` reads."""
        return json.dumps(self.model_dump(mode="json"), indent=2) + "\n"

    @classmethod
    def load(cls, file: Path, path: str) -> Self:
        """Reads a table.

        Args:
            file: The file.
            path: Where its name stands, for messages.

        Raises:
            ConfigError: The file is missing or holds no table.
        """
        try:
            return read_document(file, cls)
        except DocumentError as error:
            raise ConfigError(path, str(file), f"a file of `nncf-mcq latency-table` ({error.problem})") from error
