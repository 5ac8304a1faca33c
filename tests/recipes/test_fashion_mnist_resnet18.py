from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from nncf_mcq.config.catalog import find_config
from nncf_mcq.job import Job
from nncf_mcq.metrics.metrics import top1
from nncf_mcq.model.layers import find_layers
from nncf_mcq.model.loading import to_openvino
from tests.models import run

IMAGES = 1000


@pytest.fixture(scope="module")
def job() -> Job:
    return Job.read(find_config("fashion_mnist_resnet18"), {"dataset.full_root": None})


def test_is_a_resnet18_of_a_sixteenth_of_the_weights(job: Job) -> None:
    import torchvision

    published = torchvision.models.resnet18(num_classes=10)
    model = job.load_model()
    assert isinstance(model, torch.nn.Module)
    found, expected = (
        sorted(tuple(part.kernel_size) for part in network.modules() if isinstance(part, torch.nn.Conv2d))
        for network in (model, published)
    )
    # The stem alone is another: 3 x 3 rather than 7 x 7.
    assert found == sorted([*expected[:-1], (3, 3)])
    assert {value.dtype for value in model.parameters()} == {torch.float32}
    assert sum(value.numel() for value in model.parameters()) == 701_178
    assert len(find_layers(to_openvino(model, job.config.sample_size)).layers) == 21


def test_the_stored_weights_are_small_and_know_the_report_images(job: Job) -> None:
    assert job.config.checkpoint is not None
    assert Path(job.config.checkpoint).stat().st_size < 1_500_000
    report = job.load_dataset().report
    images, targets = zip(*(report[index] for index in range(IMAGES)), strict=True)
    outputs = run(job.openvino_model(), np.stack(images), threads=1, batch_size=50)
    assert top1(outputs, np.array(targets)) > 0.92


def test_calibration_and_search_share_no_image_with_the_report(job: Job) -> None:
    splits = job.load_dataset()
    parts = [
        {part[index][0].tobytes() for index in range(len(part))}
        for part in (splits.calibration, splits.search, splits.report)
    ]
    assert [len(part) for part in parts] == [256, 512, 4000]
    assert len(set.union(*parts)) == 256 + 512 + 4000
