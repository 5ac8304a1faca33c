"""The benchmark of scores: what it prints of scores whose noise is known."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks import score_noise


def test_noise_of_known_values() -> None:
    random = np.random.default_rng(0)
    truth = np.linspace(1.0, 2.0, 20)
    common = random.standard_normal(400)
    values = truth[:, None] + common - common.mean() + 0.1 * random.standard_normal((20, 400))
    found = score_noise._noise("kl", values, {"kl": list(truth)})
    # What all policies have in common does not count; sqrt(2) * 0.1 / sqrt(400) / 1.5 is left.
    assert found.error == pytest.approx(np.sqrt(2) * 0.1 / 20 / 1.5, rel=0.15)
    assert found.spread == pytest.approx(truth.std() / 1.5, rel=0.1)
    assert found.same > 0.9
    assert found.truth == found.same


def test_bad_arguments_are_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    for arguments in (["none.json"], ["fashion_mnist", "--policies", "2"]):
        with pytest.raises(SystemExit) as error:
            score_noise.main(arguments)
        assert error.value.code == 2
    assert "none.json" in capsys.readouterr().err
