from __future__ import annotations

import numpy as np
import pytest

from nncf_mcq.latency.clock import TimedModel, interleaved_times, ratio_quartiles
from nncf_mcq.latency.profile import node_times, time_shares
from nncf_mcq.model.inference import compile_model
from tests.models import convolution_model


class Recorded(TimedModel):
    """Says when it runs."""

    def __init__(self, name: str, seen: list[str]) -> None:
        super().__init__(compile_model(convolution_model((1, 4, 8, 8), (4, 4, 3, 3)), 1))
        self.name, self.seen = name, seen

    def run(self) -> float:
        self.seen.append(self.name)
        return super().run()


def order(seen: list[str]) -> list[str]:
    """Each turn once."""
    return [name for index, name in enumerate(seen) if index == 0 or seen[index - 1] != name]


def test_single_inferences_keep_their_order() -> None:
    seen: list[str] = []
    times = interleaved_times({name: Recorded(name, seen) for name in "abc"}, 4)
    assert seen == list("abc" * 4)
    assert {name: [len(item) for item in rounds] for name, rounds in times.items()} == {name: [1] * 4 for name in "abc"}


def test_turns_rotate_and_last() -> None:
    seen: list[str] = []
    times = interleaved_times({name: Recorded(name, seen) for name in "abc"}, 3, turn=0.03)
    # Where a round ends with the model that the next begins with, two turns are one.
    assert "".join(order(seen)) == "abcbcacab"
    for rounds in times.values():
        assert len(rounds) == 3 and sum(map(len, rounds)) > 6


def test_rounds_go_on_for_the_time_asked_for() -> None:
    model = TimedModel.compile(convolution_model((1, 16, 32, 32), (16, 16, 3, 3)), 1, "f32")
    short, long = (sum(map(np.sum, interleaved_times({"a": model}, 2, seconds=each)["a"])) for each in (0.0, 0.05))
    assert short < 50 <= long


def test_given_inputs_are_what_the_model_runs_on() -> None:
    model = convolution_model((1, 4, 8, 8), (4, 4, 3, 3))
    compiled = compile_model(model, 1)
    image = np.random.default_rng(3).standard_normal((1, 4, 8, 8)).astype(np.float32)
    timed = TimedModel(compiled, [image])
    timed.infer()
    np.testing.assert_array_equal(timed._request.get_output_tensor(0).data, compiled([image])[0])


def test_quartiles_are_of_rounds() -> None:
    base = [np.array([1.0, 9.0, 1.0]), np.array([2.0]), np.array([4.0, 4.0])]
    assert ratio_quartiles([factor * item for factor, item in zip((1, 2, 3), base, strict=True)], base) == (1.5, 2, 2.5)


def test_time_goes_to_the_larger_layer() -> None:
    # Large enough to outweigh the change of layout even where other programs interrupt it.
    large = convolution_model((1, 128, 32, 32), (128, 128, 3, 3))
    times = node_times(compile_model(large, 1, counts_time=True))
    assert max(times, key=times.__getitem__) == "layer" and times["layer"] > 0.5 * sum(times.values())
    assert time_shares(large, ["layer", "no layer"], 1) == {"layer": pytest.approx(1.0, abs=0.5), "no layer": 0.0}


def test_times_need_counters() -> None:
    times = node_times(compile_model(convolution_model((1, 4, 8, 8), (4, 4, 3, 3)), 1))
    assert sum(times.values()) == pytest.approx(0.0)
