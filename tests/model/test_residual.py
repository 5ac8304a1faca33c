from __future__ import annotations

import numpy as np
import openvino as ov
import pytest
from openvino import opset13 as opset

from nncf_mcq.model.nodes import operations_by_name
from nncf_mcq.model.residual import Residual, find_residual
from tests.models import convolution, random_constant


def sum_with(
    *, bias: bool = True, port: int = 1, other: str = "stem", read_twice: bool = False, activation: bool = False
) -> ov.Model:
    """data -> stem -> branch, whose output, with a bias, is added to another value."""
    data = opset.parameter([1, 8, 4, 4], np.float32, name="data")
    stem = opset.relu(convolution(data, random_constant(8, 8, 1, 1), "stem"))
    pooled = opset.reduce_mean(stem, np.array([2, 3]), keep_dims=True)
    branch = convolution(stem, random_constant(8, 8, 1, 1, seed=1), "branch")
    value = opset.add(branch, random_constant(1, 8, 1, 1, seed=2)) if bias else branch
    value = opset.relu(value) if activation else value
    terms = [{"stem": stem, "pooled": pooled}[other], value]
    joined = opset.add(*(terms if port else reversed(terms)), name="joined")
    results = [opset.result(joined), *([opset.result(branch)] if read_twice else [])]
    return ov.Model(results, [data], "sum")


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("port", [0, 1])
def test_the_other_term_of_the_sum_is_found(bias: bool, port: int) -> None:
    model = sum_with(bias=bias, port=port)
    residual = find_residual(operations_by_name(model)["branch"])
    assert residual == Residual("joined", 1 - port)
    assert residual.of(model).get_node().get_type_name() == "Relu"


@pytest.mark.parametrize("changes", [{"other": "pooled"}, {"read_twice": True}, {"activation": True}])
def test_there_is_none_where_a_sum_does_not_tell_what_the_layer_lacks(changes: dict[str, str | bool]) -> None:
    model = sum_with(**changes)  # type: ignore[arg-type]
    assert find_residual(operations_by_name(model)["branch"]) is None


def test_the_layer_before_a_branch_has_none() -> None:
    assert find_residual(operations_by_name(sum_with())["stem"]) is None
