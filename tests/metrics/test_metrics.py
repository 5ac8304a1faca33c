from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy.special import rel_entr, softmax

from nncf_mcq.errors import ConfigError, NncfMcqError
from nncf_mcq.metrics.metrics import (
    METRICS,
    Metric,
    Outputs,
    Targets,
    agreement,
    get_metric,
    kl_divergence,
    label_free_metrics,
    register_metric,
    stack_targets,
    top1,
    top5,
)

Pair = tuple[Outputs, Outputs]

logit = st.floats(-50, 50, width=32)
shapes = st.tuples(st.integers(1, 6), st.integers(2, 12))
logits = shapes.flatmap(lambda shape: hnp.arrays(np.float32, shape, elements=logit))
pairs = shapes.flatmap(lambda shape: st.tuples(*[hnp.arrays(np.float32, shape, elements=logit)] * 2))


def test_top1_and_top5_count_the_right_images() -> None:
    outputs = np.tile(np.arange(10.0), (4, 1))
    targets = np.array([9, 5, 4, 8])
    assert top1(outputs, targets) == 0.25
    assert top5(outputs, targets) == 0.75


def test_top5_of_tied_outputs_takes_the_lowest_indices() -> None:
    # Wide enough for an unstable sort to show.
    outputs = np.tile(np.array([0.0, 1.0], dtype=np.float32), (2, 500))
    assert top5(outputs, np.array([9, 11])) == 0.5
    assert top1(outputs, np.array([1, 3])) == 0.5


def test_nan_outputs_count_as_wrong() -> None:
    outputs = np.array([[np.nan, np.nan, np.nan], [3.0, 1.0, 2.0]])
    assert top1(outputs, np.array([0, 0])) == 0.5
    assert top5(outputs, np.array([0, 0])) == 0.5
    assert agreement(outputs, outputs) == 0.5


def test_whole_numbers_of_any_type_are_class_indices_and_words_are_none() -> None:
    outputs = np.array([[1.0, 2.0, 3.0], [3.0, 1.0, 2.0]])
    assert top1(outputs, np.array([2.0, 0.0])) == 1.0
    with pytest.raises(ConfigError, match=r"^dataset: found 'targets of type <U1', allowed: class indices 0 to 2$"):
        top1(outputs, np.array(["a", "b"]))


@pytest.mark.parametrize("target", [-1, 3, 1.5, np.nan])
def test_target_that_is_no_class_is_an_error(target: float) -> None:
    with pytest.raises(ConfigError, match=rf"^dataset: found 'target {target}', allowed: class indices 0 to 2$"):
        top1(np.zeros((2, 3)), np.array([0, target]))


@pytest.mark.parametrize(
    ("outputs", "targets"), [((0, 3), (0,)), ((2, 0), (2,)), ((2, 3, 1), (2,)), ((2, 3), (3,)), ((2, 3), (2, 1))]
)
def test_shapes_that_do_not_fit_are_errors(outputs: tuple[int, ...], targets: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="of shape"):
        top1(np.zeros(outputs), np.zeros(targets, dtype=np.int64))


@pytest.mark.parametrize("function", [agreement, kl_divergence])
def test_reference_of_another_shape_is_an_error(function: Metric) -> None:
    with pytest.raises(ValueError, match=r"outputs of shape \(2, 3\) but a reference of shape \(1, 3\)"):
        function(np.zeros((2, 3)), np.zeros((1, 3)))


@given(pairs)
def test_top1_is_agreement_with_one_hot_targets(pair: Pair) -> None:
    outputs, other = pair
    targets = other.argmax(axis=1)
    assert top1(outputs, targets) == agreement(outputs, np.eye(other.shape[1])[targets])


@given(logits)
def test_every_output_agrees_with_itself(outputs: Outputs) -> None:
    assert agreement(outputs, outputs) == 1.0


@given(pairs)
def test_agreement_is_symmetric_and_a_share(pair: Pair) -> None:
    outputs, reference = pair
    value = agreement(outputs, reference)
    assert value == agreement(reference, outputs)
    assert value * len(outputs) == pytest.approx(sum(a.argmax() == b.argmax() for a, b in zip(*pair, strict=True)))


def test_agreement_counts_the_equal_ones() -> None:
    assert agreement(np.array([[0, 1], [1, 0], [0, 1], [0, 1]]), np.array([[0, 9], [9, 0], [9, 0], [0, 9]])) == 0.75


def test_kl_divergence_of_known_distributions() -> None:
    reference = np.log([[0.75, 0.25], [0.5, 0.5]])
    outputs = np.log([[0.25, 0.75], [0.5, 0.5]])
    # KL((3/4, 1/4) || (1/4, 3/4)) = 1/2 ln 3, not the same as in base 2; the second image contributes 0.
    assert kl_divergence(outputs, reference) == pytest.approx(0.25 * np.log(3.0), rel=1e-12)


def test_kl_divergence_goes_from_reference_to_outputs() -> None:
    sharp, flat = np.log([[0.98, 0.01, 0.01]]), np.log([[1 / 3, 1 / 3, 1 / 3]])
    expected = rel_entr([0.98, 0.01, 0.01], [1 / 3] * 3).sum()
    assert kl_divergence(outputs=flat, reference=sharp) == pytest.approx(expected)
    assert kl_divergence(outputs=sharp, reference=flat) != pytest.approx(expected)


@given(pairs)
def test_kl_divergence_is_that_of_the_softmax(pair: Pair) -> None:
    outputs, reference = pair
    expected = rel_entr(softmax(reference.astype(float), axis=1), softmax(outputs.astype(float), axis=1)).sum(1).mean()
    assert kl_divergence(outputs, reference) == pytest.approx(expected, rel=1e-6, abs=1e-9)


@given(pairs)
def test_kl_divergence_is_not_negative(pair: Pair) -> None:
    assert kl_divergence(*pair) >= 0.0


@given(logits)
def test_kl_divergence_is_zero_at_equality(outputs: Outputs) -> None:
    assert kl_divergence(outputs, outputs) == 0.0


@given(pairs, st.floats(-100, 100), st.floats(-100, 100))
def test_kl_divergence_ignores_a_shift_of_the_logits(pair: Pair, output_shift: float, reference_shift: float) -> None:
    outputs, reference = pair[0].astype(np.float64), pair[1].astype(np.float64)
    shifted = kl_divergence(outputs + output_shift, reference + reference_shift)
    assert shifted == pytest.approx(kl_divergence(outputs, reference), rel=1e-6, abs=1e-9)


def test_kl_divergence_of_far_apart_logits_stays_finite() -> None:
    outputs, reference = np.array([[0.0, 5000.0]], np.float32), np.array([[5000.0, 0.0]], np.float32)
    assert kl_divergence(outputs, reference) == pytest.approx(5000.0)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_kl_divergence_of_broken_outputs_is_infinite(value: float) -> None:
    assert kl_divergence(np.array([[value, 0.0]]), np.zeros((1, 2))) == np.inf
    with pytest.raises(ValueError, match="reference outputs are not finite"):
        kl_divergence(np.zeros((1, 2)), np.array([[value, 0.0]]))


def test_metrics_are_found_by_name() -> None:
    assert get_metric("top1") is top1
    assert get_metric("top5") is top5
    with pytest.raises(ConfigError, match=r"^metric: found 'top3', allowed: one of cosine, map, map50, "):
        get_metric("top3")


def test_third_party_metric(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("nncf_mcq.metrics.metrics.METRICS", dict(METRICS))

    @register_metric("always_half")
    def always_half(outputs: Outputs, targets: Targets) -> float:
        return 0.5

    assert get_metric("always_half")(np.zeros((1, 2)), np.zeros(1)) == 0.5
    with pytest.raises(NncfMcqError, match="'top1' is registered already"):
        register_metric("top1")(always_half)
    assert get_metric("top1") is top1


@pytest.mark.parametrize(
    ("targets", "shape"),
    [
        ([3, 1, 2], (3,)),
        ([np.int64(3), np.int64(1)], (2,)),
        ([torch.tensor(3), torch.tensor(1)], (2,)),
        ([np.zeros((2, 4)), np.ones((2, 4))], (2, 2, 4)),
        ([[0.0, 1.0], [2.0, 3.0]], (2, 2)),
    ],
)
def test_targets_of_one_shape_are_one_array(targets: list[Any], shape: tuple[int, ...]) -> None:
    stacked = stack_targets(targets)
    assert isinstance(stacked, np.ndarray) and stacked.shape == shape
    np.testing.assert_array_equal(stacked[1], np.asarray(targets[1]))


@pytest.mark.parametrize(
    "targets", [[np.zeros((1, 4)), np.zeros((2, 4))], [[[1], [1, 2]]] * 2, [None, None], ["cat", "dog"], [{}, {}], []]
)
def test_other_targets_stay_a_list(targets: list[Any]) -> None:
    stacked = stack_targets(targets)
    assert isinstance(stacked, list) and len(stacked) == len(targets)
    assert all(found is target for found, target in zip(stacked, targets, strict=True))


def test_only_classifiers_have_label_free_metrics() -> None:
    logits = np.array([[1.0, 2.0], [3.0, 1.0]])
    assert label_free_metrics(logits[:, ::-1], logits)["agreement"] == 0.0
    assert label_free_metrics(logits, logits) == {"agreement": 1.0, "kl": 0.0}
    for other in (logits[:, :1], logits[:, :, None], logits[0]):
        assert label_free_metrics(other, other) == {}
