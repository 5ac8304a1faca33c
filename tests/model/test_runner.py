from __future__ import annotations

import gc
import weakref

import numpy as np
import openvino as ov
import pytest
from openvino import opset13 as opset

from nncf_mcq.errors import QuantizationError
from nncf_mcq.model.inference import compile_model
from nncf_mcq.model.runner import CHUNK_BYTES, ModelRunner, samples_per_chunk
from nncf_mcq.policy import Policy
from tests.models import SAMPLE_SIZE, random_images, small_calibrated_model


def two_by_two() -> ov.Model:
    """Two inputs (N, 3) and (N, 2, 2), two outputs: their sums (N, 1), and the second input's rows (2 N, 2)."""
    first = opset.parameter(ov.PartialShape([-1, 3]), np.float32, name="first")
    second = opset.parameter(ov.PartialShape([-1, 2, 2]), np.float32, name="second")
    flat = opset.reshape(second, np.array([-1, 4]), special_zero=False)
    totals = [opset.reduce_sum(value, np.array([1]), keep_dims=True) for value in (first, flat)]
    rows = opset.reshape(second, np.array([-1, 2]), special_zero=False)
    results = [opset.result(opset.add(*totals)), opset.result(rows)]
    return ov.Model(results, [first, second], "two")


@pytest.mark.parametrize("parallel", [False, True])
@pytest.mark.parametrize("samples", [1, 4, 7, 8, 29])
def test_all_inputs_and_all_outputs_of_every_sample(parallel: bool, samples: int) -> None:
    generator = np.random.default_rng(samples)
    first = generator.integers(-9, 9, (samples, 3)).astype(np.float32)
    second = generator.integers(-9, 9, (samples, 2, 2)).astype(np.float32)
    runner = ModelRunner.compile(two_by_two(), 2, batch_size=4, parallel=parallel)
    for _ in range(2):
        total, rows = runner([first, second])
        np.testing.assert_array_equal(total[:, 0], first.sum(axis=1) + second.sum(axis=(1, 2)))
        np.testing.assert_array_equal(rows, second.reshape(-1, 2))
    sizes = [len(total) for total, _ in runner.batches([first, second])]
    assert sizes == [4] * (samples // 4) + ([samples % 4] if samples % 4 else [])


@pytest.mark.parametrize("parallel", [False, True])
def test_a_check_ends_a_run_between_batches(parallel: bool) -> None:
    calls: list[None] = []

    def check() -> None:
        calls.append(None)
        if len(calls) == 3:
            raise KeyboardInterrupt

    runner = ModelRunner.compile(two_by_two(), 2, batch_size=1, parallel=parallel)
    samples = [np.ones((9, 3), np.float32), np.ones((9, 2, 2), np.float32)]
    with pytest.raises(KeyboardInterrupt):
        runner(samples, check)
    assert len(calls) == 3
    assert len(runner(samples)[0]) == 9


def test_parallel_inferences_change_no_bit() -> None:
    """The search runs one inference at a time, with one thread or all; the report runs one for each thread."""
    calibrated, table = small_calibrated_model()
    policy = Policy({layer.name: 4 for layer in calibrated.quantizable.layers}, calibrated.activation_bits)
    images = random_images(37)
    for model in (calibrated.quantizable.model, calibrated.build(policy, table)):
        expected = np.concatenate([np.array(compile_model(model, 1)(image[None])[0]) for image in images])
        for threads in (1, 2):
            for batch_size in (1, 8):
                for parallel in (False, True):
                    runner = ModelRunner.compile(model, threads, batch_size=batch_size, parallel=parallel)
                    np.testing.assert_array_equal(runner([images])[0], expected)


def test_arrays_that_are_not_contiguous_are_read_right() -> None:
    model = small_calibrated_model()[0].quantizable.model
    images = random_images(5)
    turned = np.ascontiguousarray(images.transpose(0, 2, 3, 1)).transpose(0, 3, 1, 2)
    assert not turned.flags.c_contiguous
    for parallel in (False, True):
        runner = ModelRunner.compile(model, 1, batch_size=2, parallel=parallel)
        np.testing.assert_array_equal(runner([turned])[0], runner([images])[0])


def test_an_output_without_a_batch_needs_a_batch_of_one() -> None:
    data = opset.parameter(ov.PartialShape([-1, 3]), np.float32)
    model = ov.Model([opset.result(opset.reduce_sum(data, np.array([0]), keep_dims=False))], [data], "sum")
    samples = np.arange(9, dtype=np.float32).reshape(3, 3)
    found = ModelRunner.compile(model, 1, batch_size=1)([samples])[0]
    np.testing.assert_array_equal(found, samples)
    with pytest.raises(
        QuantizationError, match=r"output 0 of the model: found shape \(3,\) for a batch of 2, allowed: "
    ):
        ModelRunner.compile(model, 1, batch_size=2)([samples])


def test_a_model_that_cannot_be_reshaped_is_an_error() -> None:
    data = opset.parameter([1, 3], np.float32)
    fixed = opset.add(data, opset.reshape(data, np.array([1, 3]), special_zero=False))
    with pytest.raises(QuantizationError, match=r"the model cannot be run with batch size 4: ."):
        ModelRunner.compile(ov.Model([opset.result(fixed)], [data], "fixed"), 1, batch_size=4)


def test_an_error_of_one_inference_leaves_none_behind() -> None:
    runner = ModelRunner.compile(two_by_two(), 2, batch_size=1, parallel=True)
    good = [np.ones((9, 3), np.float32), np.ones((9, 2, 2), np.float32)]
    with pytest.raises(RuntimeError):
        runner([good[0], np.ones((9, 2, 3), np.float32)])
    np.testing.assert_array_equal(runner(good)[0], np.full((9, 1), 7.0))


def test_a_runner_is_freed() -> None:
    """Its queue keeps a callback alive, which must not keep the runner, and with it the model, alive."""
    runner = ModelRunner.compile(two_by_two(), 1, batch_size=1, parallel=True)
    runner([np.ones((3, 3), np.float32), np.ones((3, 2, 2), np.float32)])
    freed = weakref.ref(runner)
    del runner
    gc.collect()
    assert freed() is None


def test_chunks_are_full_batches_that_fit() -> None:
    model = small_calibrated_model()[0].quantizable.model
    one, many = (ModelRunner.compile(model, 1, batch_size=size) for size in (1, 48))
    assert one.sample_bytes == many.sample_bytes == 4 * (np.prod(SAMPLE_SIZE) + 5)
    size = samples_per_chunk([one, many])
    assert size % 48 == 0
    assert size * one.sample_bytes <= CHUNK_BYTES < (size + 48) * one.sample_bytes
