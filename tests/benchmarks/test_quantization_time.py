from __future__ import annotations

import pytest

from benchmarks import quantization_time
from nncf_mcq.model.samples import Samples
from nncf_mcq.testing.networks import images, small_config, small_network


def test_each_quantization_is_timed_in_every_round_and_the_table_is_a_part_of_it() -> None:
    arrays = images(3)
    found = quantization_time.measure(small_network(), Samples((arrays,)), small_config(), [8, 4], 2)
    assert list(found) == ["nncf.quantize", "uniform, 8 bits", "uniform, 4 bits"]
    for label, times in found.items():
        assert len(times) == 2
        assert all((0 < table < total) == (label != "nncf.quantize") for total, table in times)


def test_an_unknown_config_is_one_message(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        quantization_time.main(["none.json"])
    assert caught.value.code == 2
    assert capsys.readouterr().err.startswith("error: ")
