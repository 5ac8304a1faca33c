from __future__ import annotations

import pytest

from nncf_mcq.precision_init import UniformPrecision
from tests.models import make_task


@pytest.mark.parametrize("bits", [2, 8])
def test_every_layer_gets_the_same_bits(bits: int) -> None:
    task = make_task(activation_bits=5)
    policy = UniformPrecision(UniformPrecision.Parameters(bits=bits)).find_policy(task).policy
    assert policy.weight_bits == {layer.name: bits for layer in task.quantizable.layers}
    assert policy.activation_bits == {point.name: 5 for point in task.quantizable.activation_points}
    assert task.evaluator.evaluations == 0


def test_only_the_one_width_is_required_even_if_it_is_not_among_those_to_choose_from() -> None:
    initializer = UniformPrecision(UniformPrecision.Parameters(bits=3))
    assert initializer.required_bits((2, 4, 8)) == (3,)


def test_the_default_is_eight_bits() -> None:
    assert UniformPrecision.Parameters().bits == 8
