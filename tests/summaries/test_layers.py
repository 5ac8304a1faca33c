"""The tables of `nncf-mcq layers`."""

from __future__ import annotations

import io

import pytest
from openvino import opset13 as opset
from rich.console import Console
from rich.table import Table

from nncf_mcq.config.schema import load_config
from nncf_mcq.model.layers import find_layers
from nncf_mcq.summaries.layers import budget_lines, budget_table, float_table, layer_table
from tests.models import convolution, embedding_model, make_model, random_constant, small_calibrated_model, small_config


def printed(table: Table) -> str:
    stream = io.StringIO()
    Console(file=stream, width=160).print(table)
    return " ".join(stream.getvalue().split())


def test_what_stays_float_is_listed_with_the_reason() -> None:
    model = make_model(
        lambda data: convolution(
            opset.relu(convolution(data, random_constant(4, 3, 3, 3), "first")), random_constant(2, 4, 3, 3), "second"
        ),
        (1, 3, 8, 8),
    )
    quantizable = find_layers(model, ["second"])
    table = float_table(quantizable)
    assert table is not None
    assert "second Convolution 72 40.00 it is in ignored_scopes" in printed(table).replace("│ ", "")
    assert "second" not in printed(layer_table(quantizable))


def test_there_is_no_list_where_nothing_stays_float() -> None:
    assert float_table(small_calibrated_model()[0].quantizable) is None


@pytest.mark.parametrize(
    ("average_bits", "line"),
    [
        (4, "the budget can be reached: compression.initializer.precision.budget.weight_size.average_bits 4, "),
        (1.5, "the budget cannot be reached: compression.initializer.precision.budget.weight_size.average_bits: "),
    ],
)
def test_a_line_says_whether_the_budget_can_be_reached(average_bits: float, line: str) -> None:
    quantizable = small_calibrated_model()[0].quantizable
    compression = small_config(type="ilp", budget={"weight_size": {"average_bits": average_bits}}).compression
    (found,) = budget_lines(quantizable, compression)
    assert found.startswith(line)
    assert "reachable: 2 to 8 bits" in found
    assert budget_lines(quantizable, load_config({}).compression) == []


def test_reachable_budgets_know_which_bits_a_layer_can_have() -> None:
    quantizable = find_layers(embedding_model(layer="last"))
    compression = load_config({"compression": {"weights": {"bits": [2, 4]}}}).compression
    # 35 weights of an embedding, which have 8 bits, and 20 others.
    low, high = ((35 * 8 + 20 * bits) / 55 for bits in (2, 4))
    line = f"weight_size.average_bits {low:.4g} {high:.4g}"
    assert line in printed(budget_table(quantizable, compression)).replace("│ ", "")
