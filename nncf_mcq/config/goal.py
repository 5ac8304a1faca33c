"""What a policy has to keep of the float model's quality: a goal in the place of a budget."""

from __future__ import annotations

import math
from typing import Any, Final

from pydantic import ConfigDict, Field, JsonValue, model_validator

from nncf_mcq.config.parameters import Parameters

DROP: Final = "_drop"
"""Ends the key of a limit on the drop of a metric."""

CLOSENESS: Final = ("box_map50", "box_map", "miou_to_float", "pixel_agreement")
"""Keys of goals on how close outputs of any kind are to the float model's, named as in the quality of a result."""

AT_LEAST: Final = ("agreement", *CLOSENESS)
"""Keys of goals whose limit is the smallest allowed value."""

_ALLOWED = f'exactly one of agreement, kl, {", ".join(CLOSENESS)}, or METRIC{DROP}, e.g. {{"top1{DROP}": 1}}'


def _add_drops(schema: dict[str, Any]) -> None:
    """Says which other keys there are, in place of that there may be any."""
    del schema["additionalProperties"]
    number = {"description": "Largest drop of the metric that stands before it.", "minimum": 0, "type": "number"}
    schema |= {"patternProperties": {f"^.+{DROP}$": number}, "additionalProperties": False}


class Goal(Parameters):
    """Exactly one quantity of the search images that the policy has to keep, with some confidence.

    Besides the named ones, `METRIC_drop` is the largest drop of a registered metric below the float model's: in
    percentage points for metrics that are shares (top1, top5, map, map50), in the metric's own unit for others.
    """

    model_config = ConfigDict(extra="allow", json_schema_extra=_add_drops)

    agreement: float | None = Field(
        default=None, gt=0, lt=1, description="Smallest share of images with the float model's top-1 class, e.g. 0.99."
    )
    kl: float | None = Field(
        default=None, gt=0, allow_inf_nan=False, description="Largest mean KL divergence from the float model, in nats."
    )
    box_map50: float | None = Field(
        default=None,
        gt=0,
        lt=1,
        description="Smallest mAP@0.5 of a detector's boxes with the float model's boxes as truth, 0 to 1, e.g. 0.95.",
    )
    box_map: float | None = Field(default=None, gt=0, lt=1, description="The same for mAP@[.5:.95].")
    miou_to_float: float | None = Field(
        default=None,
        gt=0,
        lt=1,
        description="Smallest mean intersection over union with the float model's classes of pixels, e.g. 0.95.",
    )
    pixel_agreement: float | None = Field(
        default=None, gt=0, lt=1, description="Smallest share of pixels with the float model's class, e.g. 0.99."
    )
    confidence: float = Field(
        default=0.95,
        ge=0.5,
        lt=1,
        description="Confidence of the one-sided bound on the quantity: the bound has to keep the goal.",
    )

    @model_validator(mode="after")
    def _exactly_one(self) -> Goal:
        drops = self.model_extra or {}
        limits = [limit for limit in self._limits().values() if limit is not None]
        if len(limits) != 1 or any(not name.endswith(DROP) or name == DROP for name in drops):
            raise ValueError(_ALLOWED)
        for limit in drops.values():
            if isinstance(limit, bool) or not isinstance(limit, int | float) or not 0 <= limit < math.inf:
                raise ValueError(f"{_ALLOWED}; a drop is a number of at least 0")
        return self

    @property
    def quantity(self) -> str:
        """Its key: `agreement`, `kl`, one of `CLOSENESS`, or `METRIC_drop`."""
        return next(name for name, limit in self._limits().items() if limit is not None)

    @property
    def limit(self) -> float:
        """The smallest of what is `AT_LEAST`, or the largest divergence or drop."""
        limit = self._limits()[self.quantity]
        assert isinstance(limit, int | float)
        return float(limit)

    @property
    def metric(self) -> str | None:
        """Name of the metric whose drop is limited, which needs labels; None for the others."""
        return self.quantity.removesuffix(DROP) if self.quantity.endswith(DROP) else None

    def _limits(self) -> dict[str, JsonValue]:
        named = ("agreement", "kl", *CLOSENESS)
        return {name: getattr(self, name) for name in named} | (self.model_extra or {})
