from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nncf_mcq.precision_init.estimate import Difference
from nncf_mcq.precision_init.shrinkage import SMALLEST_SHARE, shrink_sensitivities

BITS = (2, 3, 4, 8)
ERRORS = {2: 0.2, 3: 0.04, 4: 0.01, 8: 0.0}

any_number = st.one_of(st.floats(-1, 10), st.sampled_from([float("nan"), float("inf"), -float("inf"), 0.0]))
any_error = st.one_of(st.floats(0, 10), st.sampled_from([float("nan"), float("inf")]))
differences = st.dictionaries(st.sampled_from(BITS[:-1]), st.builds(Difference, any_number, any_error))
errors_of_bits = st.lists(st.floats(0, 1), min_size=3, max_size=3).map(
    lambda values: dict(zip(BITS, [*sorted(values, reverse=True), 0.0], strict=True))
)


def exact(values: dict[int, float], error: float) -> dict[int, Difference]:
    return {bits: Difference(value, error) for bits, value in values.items()}


@given(st.lists(st.tuples(differences, errors_of_bits), min_size=1, max_size=4))
def test_sensitivities_are_positive_and_fall_to_zero(
    groups: list[tuple[dict[int, Difference], dict[int, float]]],
) -> None:
    measured = {str(index): values for index, (values, _) in enumerate(groups)}
    errors = {str(index): values for index, (_, values) in enumerate(groups)}
    found = shrink_sensitivities(measured, errors)
    assert set(found) == set(measured)
    for values in found.values():
        assert sorted(values) == list(BITS)
        losses = [values[bits] for bits in BITS]
        assert losses[-1] == 0.0
        assert all(narrow >= wide >= 0 for narrow, wide in itertools.pairwise(losses))


@given(st.floats(0.01, 10), st.floats(0.01, 10), st.floats(0.01, 10))
def test_what_was_measured_well_stays_as_it_is(first: float, second: float, third: float) -> None:
    values = dict(zip(BITS, sorted((first, second, third), reverse=True), strict=False))
    # At least the smallest share of the prediction, which is their geometric mean: the errors are equal.
    found = shrink_sensitivities({"a": exact(values, 1e-9)}, {"a": dict.fromkeys(BITS[:-1], 0.1) | {8: 0.0}})["a"]
    factor = np.exp(np.mean(np.log(list(values.values()))))
    for bits, value in values.items():
        assert found[bits] == pytest.approx(max(value, SMALLEST_SHARE * factor), rel=1e-6)


def test_what_the_images_do_not_tell_is_in_proportion_to_the_errors() -> None:
    values = {2: 0.5, 3: 0.4, 4: 0.3}
    # Each of them says as little, so the factor is their geometric mean.
    measured = {bits: Difference(value, 1e6 * value) for bits, value in values.items()}
    found = shrink_sensitivities({"a": measured}, {"a": ERRORS})["a"]
    factor = np.exp(np.mean(np.log([0.5 / 0.2, 0.4 / 0.04, 0.3 / 0.01])))
    for bits, error in ERRORS.items():
        assert found[bits] == pytest.approx(factor * error, rel=1e-4)


def test_what_was_not_measured_is_predicted() -> None:
    found = shrink_sensitivities({"a": exact({2: 0.4}, 0.0), "b": {}}, {"a": ERRORS, "b": {2: 0.1, 4: 0.02, 8: 0.0}})
    assert found["a"] == pytest.approx({2: 0.4, 3: 0.08, 4: 0.02, 8: 0.0})
    # Of a group of which nothing is known, the factor is that of a typical one.
    assert found["b"] == pytest.approx({2: 0.2, 4: 0.04, 8: 0.0})


def test_a_gain_by_chance_leaves_a_share_of_the_prediction() -> None:
    measured = {"a": {2: Difference(0.4, 0.0), 3: Difference(-0.5, 1e-6)}}
    assert shrink_sensitivities(measured, {"a": ERRORS})["a"][3] == pytest.approx(SMALLEST_SHARE * 0.08)


def test_one_infinite_sensitivity_spoils_no_other() -> None:
    measured = {"a": {2: Difference(float("inf"), float("nan")), 3: Difference(0.08, 0.0)}}
    found = shrink_sensitivities(measured, {"a": ERRORS})["a"]
    assert found == pytest.approx({2: float("inf"), 3: 0.08, 4: 0.02, 8: 0.0})


def test_a_single_image_is_taken_at_its_word() -> None:
    values = {2: 0.5, 3: 0.4, 4: 0.3}
    assert shrink_sensitivities({"a": exact(values, float("inf"))}, {"a": ERRORS})["a"] == pytest.approx(
        values | {8: 0.0}
    )


def test_noisy_sensitivities_come_closer_to_the_truth() -> None:
    random = np.random.default_rng(0)
    before, after = [], []
    for _ in range(200):
        factor = np.exp(random.normal())
        truth = {bits: factor * ERRORS[bits] * np.exp(0.3 * random.standard_normal()) for bits in BITS[:-1]}
        noise = 0.5 * truth[3]
        measured = {bits: Difference(value + noise * random.standard_normal(), noise) for bits, value in truth.items()}
        found = shrink_sensitivities({"a": measured}, {"a": ERRORS})["a"]
        for bits in (3, 4):
            before.append((max(measured[bits].mean, 0.0) / truth[bits] - 1) ** 2)
            after.append((found[bits] / truth[bits] - 1) ** 2)
    assert np.sqrt(np.mean(after)) < 0.5 * np.sqrt(np.mean(before))


def test_what_was_measured_badly_does_not_move_the_factor() -> None:
    measured = {"a": {2: Difference(0.4, 0.001), 3: Difference(0.8, 80.0)}}
    assert shrink_sensitivities(measured, {"a": ERRORS})["a"][4] == pytest.approx(0.02, rel=0.01)
