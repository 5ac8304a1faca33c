from __future__ import annotations

import functools
from collections.abc import Callable

import numpy as np
import openvino as ov
import pytest

from nncf_mcq import Policy
from nncf_mcq.model.runner import ModelRunner
from nncf_mcq.model.samples import Arrays, Samples
from nncf_mcq.pipeline.calibrated_model import CalibratedModel
from nncf_mcq.policy import FLOAT_CHOICE
from nncf_mcq.precision_init.segment_library import BitWidths, SegmentLibrary
from nncf_mcq.precision_init.segmented_runs import WHOLE_POLICIES, SegmentedRuns
from nncf_mcq.utils.progress import SilentProgress, Stages
from nncf_mcq.weights.weight_table import WeightTable
from tests.models import (
    SAMPLE_SIZE,
    TABLE_BITS,
    concat_model,
    random_images,
    shared_weights_model,
    small_calibrated_model,
    small_config,
)

Build = Callable[[Policy], ov.Model]

CHECKED = 3
"""Policies that are run both ways at the beginning."""


@functools.cache
def calibrated(make: Callable[[], ov.Model], shape: tuple[int, ...]) -> tuple[CalibratedModel, WeightTable]:
    stages = Stages(SilentProgress())
    found = CalibratedModel.prepare(make(), random_images(8, shape), small_config().compression, 1, stages)
    return found, found.weight_table(TABLE_BITS, stages)


class Subject:
    """Policies of a small network, run in segments and as a whole; counts the models that are built."""

    def __init__(self, model: CalibratedModel, table: WeightTable, shape: tuple[int, ...], build: Build | None = None):
        self.model = model
        self.images = Samples(random_images(10, shape, seed=1))
        self.built = 0
        self._build = build or (lambda policy: model.build(policy, table, packed=False))
        groups = model.quantizable.groups.values()
        widths = {tuple(layer.name for layer in members): TABLE_BITS for members in groups}
        self.runs = SegmentedRuns(self.build, widths, self.images, batch_size=4)

    def build(self, policy: Policy) -> ov.Model:
        self.built += 1
        return self._build(policy)

    def whole(self, policy: Policy) -> Arrays:
        return ModelRunner.compile(self.build(policy), 1, batch_size=4)(self.images.arrays)

    def run(self, policy: Policy, threads: int = 1) -> Arrays:
        return self.runs(policy, lambda: self.whole(policy), threads, lambda: None)

    def policy(self, *bits: int) -> Policy:
        groups = self.model.quantizable.groups
        choices = dict(zip(groups, bits, strict=True))
        weights = {layer.name: choices[name] for name, members in groups.items() for layer in members}
        return Policy(weights, self.model.activation_bits)

    def policies(self, count: int, seed: int = 0) -> list[Policy]:
        random = np.random.default_rng(seed)
        return [self.policy(*random.choice(TABLE_BITS, len(self.model.quantizable.groups))) for _ in range(count)]


def small(build: Build | None = None) -> Subject:
    return Subject(*small_calibrated_model(), SAMPLE_SIZE, build)


def joined() -> Subject:
    return Subject(*calibrated(concat_model, SAMPLE_SIZE), SAMPLE_SIZE)


def shared() -> Subject:
    shape = (1, 4, 6, 6)
    return Subject(*calibrated(shared_weights_model, shape), shape)


@pytest.mark.parametrize(
    ("make", "threads"),
    [
        (small, 1),
        (joined, 2),
        (shared, 1),
        *(pytest.param(*case, marks=pytest.mark.slow) for case in ((small, 2), (joined, 1), (shared, 2))),
    ],
)
def test_segments_give_the_outputs_of_the_whole_model_bit_for_bit(make: Callable[[], Subject], threads: int) -> None:
    subject = make()
    for policy in subject.policies(WHOLE_POLICIES + 20):
        for found, expected in zip(subject.run(policy, threads), subject.whole(policy), strict=True):
            np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("make", [small, joined, shared])
def test_few_models_are_compiled_as_a_whole(make: Callable[[], Subject]) -> None:
    subject = make()
    for policy in subject.policies(WHOLE_POLICIES + 50):
        subject.run(policy)
    # Two layers that meet in one segment have nine combinations.
    most = {small: 3, joined: 9, shared: 3}[make]
    assert WHOLE_POLICIES + CHECKED < subject.built <= WHOLE_POLICIES + CHECKED + most


def test_large_tensors_are_run_in_small_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    model, table = small_calibrated_model()
    policy = small().policies(1)[0]
    bit_widths: BitWidths = {(name,): TABLE_BITS for name in policy.weight_bits}
    library, whole = (
        SegmentLibrary(lambda policy: model.build(policy, table, packed=False), bit_widths, batch_size=8)
        for _ in range(2)
    )
    whole.of(policy)
    size = sum(tensor.size for segment in whole.segments for tensor in segment.outputs)
    monkeypatch.setattr("nncf_mcq.precision_init.segment_library.BATCH_BYTES", size // 3)
    library.of(policy)
    assert (whole.batch_size, library.batch_size) == (8, 2)
    assert [len(segment.outputs) for segment in library.segments] == [
        len(segment.outputs) for segment in whole.segments
    ]
    assert {tensor.shape[0] for segment in library.segments for tensor in segment.outputs} == {2}


def test_few_policies_are_compiled_as_a_whole() -> None:
    subject = small()
    for policy in subject.policies(WHOLE_POLICIES):
        subject.run(policy)
    assert subject.built == WHOLE_POLICIES


def test_float_layers_and_other_activations_are_run_as_a_whole() -> None:
    subject = small()
    for policy in subject.policies(WHOLE_POLICIES + 20):
        subject.run(policy)
    policy = subject.policy(*[8] * len(subject.model.quantizable.groups))
    fewer = Policy(policy.weight_bits, dict.fromkeys(policy.activation_bits, 4))
    floating = Policy({**policy.weight_bits, next(iter(policy.weight_bits)): FLOAT_CHOICE}, policy.activation_bits)
    for other in (fewer, floating):
        before = subject.built
        found = subject.run(other)[0]
        assert subject.built == before + 1
        np.testing.assert_array_equal(found, subject.whole(other)[0])


def test_a_difference_from_the_whole_model_is_noticed() -> None:
    model, table = small_calibrated_model()
    calls = 0

    def build(policy: Policy) -> ov.Model:
        """From some call on, models that do not have the policy's bits."""
        nonlocal calls
        calls += 1
        bits = policy.weight_bits if calls != WHOLE_POLICIES + 1 else dict.fromkeys(policy.weight_bits, 2)
        return model.build(Policy(bits, policy.activation_bits), table, packed=False)

    subject = small(build)
    policies = [subject.policy(*[8] * len(model.quantizable.groups)), *subject.policies(WHOLE_POLICIES + 10)]
    for policy in policies[1 : WHOLE_POLICIES + 1]:
        subject.run(policy)
    # Its segments come from the wrong model.
    found = subject.run(policies[0])[0]
    np.testing.assert_array_equal(found, subject.whole(policies[0])[0])
    before = subject.built
    for policy in policies[WHOLE_POLICIES + 1 :]:
        subject.run(policy)
    assert subject.built == before + 10
