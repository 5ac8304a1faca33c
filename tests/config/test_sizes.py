from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nncf_mcq import ConfigError
from nncf_mcq.config.budget import WeightSizeBudget
from nncf_mcq.config.sizes import parse_size


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("2.5MB", {"bytes": 2_500_000}),
        ("900kB", {"bytes": 900_000}),
        (" 900 KB ", {"bytes": 900_000}),
        ("2500000", {"bytes": 2_500_000}),
        ("2500000B", {"bytes": 2_500_000}),
        ("1.2GB", {"bytes": 1_200_000_000}),
        ("0.0019kB", {"bytes": 1}),
        ("3.5bits", {"average_bits": 3.5}),
        ("4 bit", {"average_bits": 4.0}),
    ],
)
def test_sizes_as_people_write_them(text: str, size: dict[str, float]) -> None:
    assert parse_size(text) == WeightSizeBudget.model_validate(size)


@given(st.integers(1, 10**12))
def test_three_decimals_of_a_unit_are_exact(size: int) -> None:
    assert parse_size(f"{size // 1000}.{size % 1000:03}kB").bytes == size


@pytest.mark.parametrize("text", ["", "MB", "0", "0.5", "-3MB", "1e6", "2.5 apples", "3MiB", "9" * 400, "nan", "0bits"])
def test_what_is_no_size(text: str) -> None:
    with pytest.raises(ConfigError, match=r"--at: found '.*', allowed: a size of the \.bin such as 2\.5MB"):
        parse_size(text, "--at")
