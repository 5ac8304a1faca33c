"""A limit of latency: its table before the search, and a measurement of the policy found."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import openvino as ov

from nncf_mcq.config.budget import Budget, LatencyBudget
from nncf_mcq.config.paths import BUDGET_PATH
from nncf_mcq.config.search_report import LatencyReport
from nncf_mcq.errors import ConfigError
from nncf_mcq.latency.cache import check_precision, find_table, latency_key
from nncf_mcq.latency.clock import measure_ratio
from nncf_mcq.latency.models import LatencyModels
from nncf_mcq.latency.table import LatencyTable
from nncf_mcq.model.layers import QuantizableModel
from nncf_mcq.policy import INT8_BITS, Policy
from nncf_mcq.utils.progress import Stages

_PATH = f"{BUDGET_PATH}.latency"
_SECONDS = 2.0

TOLERANCE = 0.02
"""Share by which a measured latency may exceed its limit before that is said: measurements differ by as much."""


@dataclass(frozen=True)
class LatencyCheck:
    """Latency of a found policy, predicted and measured, relative to int8.

    Attributes:
        limit: Largest ratio allowed.
        bound: Ratio that the search assumed: every float layer with precision conversions on all its sides.
        predicted: With the conversions that the policy really has.
        measured: In turns with the int8 model; None where the table is of another machine or number of threads.
        precision: Precision of float layers.
    """

    limit: float
    bound: float
    predicted: float
    measured: float | None
    precision: str

    @property
    def is_kept(self) -> bool | None:
        """Tells whether the measured latency keeps the limit, up to `TOLERANCE`; None where it was not measured."""
        return None if self.measured is None else self.measured <= self.limit * (1 + TOLERANCE)

    @property
    def report(self) -> LatencyReport:
        """Record of it in result.json."""
        ratios = {"limit": self.limit, "bound": self.bound, "predicted": self.predicted, "measured": self.measured}
        return LatencyReport(ratio_to_int8=ratios, kept=self.is_kept, precision=self.precision)


@dataclass(frozen=True)
class LatencyLimit:
    """A budget of latency with all that it is kept by.

    Attributes:
        budget: What is asked for.
        table: The times that a search assumes.
        threads: Inference threads.
    """

    budget: LatencyBudget
    table: LatencyTable
    threads: int

    def check(
        self, quantized: ov.Model, policy: Policy, quantizable: QuantizableModel, fake_quantized: ov.Model
    ) -> LatencyCheck:
        """Measures a quantized model interleaved with the int8 model: a prediction is good for a search only.

        Args:
            quantized: As it ships.
            policy: Its policy.
            quantizable: The float model and its layers.
            fake_quantized: The same with quantizers.
        """
        budget, table = self.budget, self.table
        groups = {layer.group for layer in quantizable.layers if layer.name in policy.float_layers}
        measured = None
        if table.key == latency_key(quantizable, self.threads, budget.precision):
            models = {"int8": LatencyModels(quantizable, fake_quantized).build(), "policy": quantized}
            measured = measure_ratio(models, "int8", self.threads, budget.precision, _SECONDS)["policy"]
        return LatencyCheck(
            limit=budget.ratio_to_int8,
            bound=table.upper_bound(groups) / table.int8_ms,
            predicted=table.predict(groups) / table.int8_ms,
            measured=measured,
            precision=budget.precision,
        )


def find_limit(
    budget: Budget | None,
    activation_bits: tuple[int, ...],
    quantizable: QuantizableModel,
    threads: int,
    stages: Stages,
) -> LatencyLimit | None:
    """The limit of latency that a budget asks for, if any, with the given table or that of this machine.

    Args:
        budget: The limits of the policy.
        activation_bits: Bit-widths that activations can have.
        quantizable: The model.
        threads: Inference threads.
        stages: Reports the progress.

    Raises:
        ConfigError: Activations may have other widths than 8 bits, which take longer than a table says; the file holds
            no table of this model and precision, or the processor lacks the precision.
    """
    latency = None if budget is None else budget.latency
    if latency is None:
        return None
    if activation_bits != (INT8_BITS,):
        allowed = "8 with a latency budget: below 8 bits, an activation costs time that depends on its neighbours"
        raise ConfigError("compression.activations.bits", list(activation_bits), allowed)
    if latency.table is not None:
        return LatencyLimit(latency, _read_table(latency, latency.table, quantizable, threads), threads)
    check_precision(latency.precision, f"{_PATH}.precision")
    table, _ = find_table(quantizable, threads, latency.precision, stages)
    return LatencyLimit(latency, table, threads)


def _read_table(budget: LatencyBudget, file: str, quantizable: QuantizableModel, threads: int) -> LatencyTable:
    table = LatencyTable.load(Path(file), f"{_PATH}.table")
    if table.key.model != latency_key(quantizable, threads, budget.precision).model:
        raise ConfigError(f"{_PATH}.table", file, "a table of this model, with the same layers and input size")
    if table.key.precision != budget.precision:
        raise ConfigError(f"{_PATH}.table", file, f"a table of {budget.precision}, not {table.key.precision}")
    return table
