"""A file that was given an open batch computes, once the batch is fixed again, what it computed before."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import openvino as ov
import pytest
import torch
from torch import Tensor, nn

from nncf_mcq import quantize
from nncf_mcq.model.inference import compile_model
from tests.models import as_dataset, random_images

SHAPE = (1, 3, 12, 12)


class Residual(nn.Module):
    """Two blocks whose sums are quantized: behind these the plugin fuses less where the batch is open."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 16, 3, 1, 1)
        self.blocks = nn.ModuleList(
            nn.Sequential(nn.Conv2d(16, 16, 3, 1, 1), nn.ReLU(), nn.Conv2d(16, 16, 3, 1, 1)) for _ in range(2)
        )
        self.last = nn.Linear(16, 5)

    def forward(self, values: Tensor) -> Tensor:
        values = self.first(values).relu()
        for block in self.blocks:
            values = (values + block(values)).relu()
        return self.last(values.mean((2, 3)))


@pytest.mark.parametrize("batch", [1, 4])
def test_a_batch_that_is_fixed_before_compilation_changes_nothing(batch: int, tmp_path: Path) -> None:
    torch.manual_seed(0)
    config = {"input_info": {"sample_size": list(SHAPE)}, "runtime": {"threads": 1}}
    file = quantize(Residual().eval(), as_dataset(random_images(8, SHAPE)), config).save(tmp_path)
    images = random_images(4, SHAPE, seed=1)
    compiled = compile_model(ov.Core().read_model(file), 1)
    expected = np.concatenate([np.array(compiled(image[None])[0]) for image in images])
    opened = ov.Core().read_model(file)
    opened.reshape([-1, *SHAPE[1:]])
    ov.save_model(opened, tmp_path / "open.xml", compress_to_fp16=False)
    fixed = ov.Core().read_model(tmp_path / "open.xml")
    fixed.reshape([batch, *SHAPE[1:]])
    runner = compile_model(fixed, 1)
    found = np.concatenate([np.array(runner(part)[0]) for part in np.split(images, len(images) // batch)])
    np.testing.assert_array_equal(found, expected)
