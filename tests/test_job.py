"""A configuration's job: mistakes that only the model's own outputs show."""

from __future__ import annotations

from typing import Any

import pytest

from nncf_mcq import ConfigError
from nncf_mcq.config.catalog import find_config
from nncf_mcq.job import Job
from nncf_mcq.utils.progress import SilentProgress

SMALL: dict[str, Any] = {
    "dataset.full_root": None,
    "dataset.split": {"calibration": 16, "search": 16, "report": 32},
    "compression.initializer.num_init_samples": 16,
    "compression.initializer.range": "max",
    "compression.correction": {"rounding": "nearest"},
    "compression.weights.bits": [4, 8],
}


class Recorder(SilentProgress):
    def __init__(self) -> None:
        self.stages: list[str] = []

    def start(self, stage: str, total: int) -> None:
        self.stages.append(stage)


@pytest.mark.parametrize(
    ("key", "name", "message", "last_stages"),
    [
        ("metric", "map50", "one for the outputs and labels of this job (an output of shape (10,), needed: ", []),
        (
            "score",
            "detection_divergence",
            "one for the outputs of this model (outputs of shape (8, 10) and a reference of shape (8, 10), needed: ",
            ["activation ranges"],
        ),
    ],
)
def test_a_metric_or_score_of_another_kind_of_model_costs_no_search(
    key: str, name: str, message: str, last_stages: list[str]
) -> None:
    recorder = Recorder()
    with pytest.raises(ConfigError) as caught:
        Job.read(find_config("fashion_mnist"), {**SMALL, key: name}).run(recorder)
    assert str(caught.value).startswith(f"{key}: found '{name}', allowed: {message}"), str(caught.value)
    assert recorder.stages[-1:] == last_stages
