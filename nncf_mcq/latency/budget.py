"""A budget of latency: its table before the search, and a measurement of what was found."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import openvino as ov

from nncf_mcq.config.budget import Budget, LatencyBudget
from nncf_mcq.config.output_files import LatencyReport
from nncf_mcq.config.schema import Config
from nncf_mcq.errors import ConfigError
from nncf_mcq.latency.cache import check_precision, find_table, latency_key
from nncf_mcq.latency.clock import measure_ratio
from nncf_mcq.latency.models import LatencyModels
from nncf_mcq.latency.table import LatencyTable
from nncf_mcq.model.layers import QuantizableModel
from nncf_mcq.policy import Policy
from nncf_mcq.utils.progress import Stages

_PATH = "compression.initializer.precision.budget.latency"
_SECONDS = 2.0

TOLERANCE = 0.02
"""Share by which a measured latency may exceed its limit before that is said: measurements differ by as much."""


def latency_budget(config: Config) -> LatencyBudget | None:
    """The budget of latency that a configuration asks for, if any.

    Args:
        config: The configuration.

    Raises:
        ConfigError: It has activations of other widths than 8 bits, which take longer than the table says.
    """
    budget = getattr(config.compression.initializer.precision, "budget", None)
    latency = budget.latency if isinstance(budget, Budget) else None
    widths = config.compression.activations.widths
    if latency is not None and widths != (8,):
        allowed = "8 with a budget of latency: below, each activation costs time that depends on its neighbours"
        raise ConfigError("compression.activations.bits", list(widths), allowed)
    return latency


def table_for(
    budget: LatencyBudget, quantizable: QuantizableModel, fake_quantized: ov.Model, threads: int, stages: Stages
) -> LatencyTable:
    """The table that a budget is reckoned with: the given file, or that of this machine.

    Args:
        budget: The budget.
        quantizable: The model.
        fake_quantized: The model with quantizers.
        threads: Inference threads.
        stages: Reports the progress.

    Raises:
        ConfigError: The file holds no table of this model and precision, or the processor lacks the precision.
    """
    if budget.table is None:
        check_precision(budget.precision, f"{_PATH}.precision")
        return find_table(quantizable, threads, budget.precision, stages, fake_quantized=fake_quantized)[0]
    table = LatencyTable.load(Path(budget.table), f"{_PATH}.table")
    if table.key.model != latency_key(quantizable, threads, budget.precision).model:
        raise ConfigError(f"{_PATH}.table", budget.table, "a table of this model, with the same layers and input size")
    if table.key.precision != budget.precision:
        raise ConfigError(f"{_PATH}.table", budget.table, f"a table of {budget.precision}, not {table.key.precision}")
    return table


@dataclass(frozen=True)
class LatencyCheck:
    """What the latency of a found policy was predicted to be, and is; all relative to int8.

    Attributes:
        limit: What was asked for.
        bound: What the search assumed: every float layer with precision conversions on all its sides.
        predicted: With the conversions that the policy really has.
        measured: In turns with the int8 model; None where the table is of another machine or number of threads.
        precision: What float layers run in.
    """

    limit: float
    bound: float
    predicted: float
    measured: float | None
    precision: str

    @property
    def is_kept(self) -> bool | None:
        """Whether the measured latency keeps the limit, up to `TOLERANCE`; None where it was not measured."""
        return None if self.measured is None else self.measured <= self.limit * (1 + TOLERANCE)

    @property
    def report(self) -> LatencyReport:
        """What result.json holds of it."""
        ratios = {name: getattr(self, name) for name in ("limit", "bound", "predicted", "measured")}
        return LatencyReport(ratio_to_int8=ratios, kept=self.is_kept, precision=self.precision)


def check_latency(
    quantized: ov.Model,
    policy: Policy,
    quantizable: QuantizableModel,
    fake_quantized: ov.Model,
    table: LatencyTable,
    budget: LatencyBudget,
    threads: int,
) -> LatencyCheck:
    """Measures a quantized model beside the int8 model, in turns.

    Args:
        quantized: As it ships.
        policy: Its policy.
        quantizable: The float model and its layers.
        fake_quantized: The same with quantizers.
        table: What the search reckoned with.
        budget: What was asked for.
        threads: Inference threads.
    """
    groups = {layer.group for layer in quantizable.layers if layer.name in policy.float_layers}
    measured = None
    if table.key == latency_key(quantizable, threads, budget.precision):
        models = {"int8": LatencyModels(quantizable, fake_quantized).build(), "policy": quantized}
        measured = measure_ratio(models, "int8", threads, budget.precision, _SECONDS)["policy"]
    return LatencyCheck(
        limit=budget.ratio_to_int8,
        bound=table.upper_bound(groups) / table.int8_ms,
        predicted=table.predict(groups) / table.int8_ms,
        measured=measured,
        precision=budget.precision,
    )
