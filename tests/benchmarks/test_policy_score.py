from __future__ import annotations

import numpy as np
import pytest

from benchmarks import policy_score
from nncf_mcq.config.source import RuntimeConfig
from nncf_mcq.metrics.output_scores import choose_scores
from nncf_mcq.model.outputs import describe_outputs
from nncf_mcq.model.samples import Samples
from nncf_mcq.pipeline.preparation import Preparation, SearchFold
from tests.models import random_images, run, small_calibrated_model


def test_policies_are_scored_on_each_number_of_images() -> None:
    calibrated, table = small_calibrated_model()
    images = random_images(3)
    model = calibrated.quantizable.model
    reference = (run(model, images, threads=1, batch_size=3),)
    score = choose_scores(describe_outputs(model), reference)
    runtime = RuntimeConfig(threads=1, batch_size=4)
    fold = SearchFold(calibrated, table, Samples(images), reference)
    preparation = Preparation(calibrated, (fold, fold), score, calibrated.costs(table), False, runtime)
    assert preparation.images == 6
    found = policy_score.measure(preparation, [1, 2, 7, 2], policies=4, first=10)
    assert list(found) == [1, 2, 7]
    for times in found.values():
        for seconds, count in ((times.first, 10), (times.later, 4), (times.whole, 4)):
            assert np.array(seconds.seconds).shape == (count, 2)
            assert np.array(seconds.seconds).min() >= 0
            assert seconds.median.min() > 0


def test_numbers_below_one_are_refused(capsys: pytest.CaptureFixture[str]) -> None:
    for option in ("--images", "--policies", "--first"):
        with pytest.raises(SystemExit) as caught:
            policy_score.main(["fashion_mnist", option, "0"])
        assert caught.value.code == 2
        assert "1 or more" in capsys.readouterr().err


def test_an_unknown_config_is_one_message(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        policy_score.main(["none.json"])
    assert caught.value.code == 2
    assert capsys.readouterr().err.startswith("error: ")
