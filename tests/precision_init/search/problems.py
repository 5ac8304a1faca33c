"""Random spaces, limits and losses as hypothesis draws them."""

from __future__ import annotations

import itertools

from hypothesis import strategies as st

from nncf_mcq.costs import Constraint
from nncf_mcq.precision_init.search import SearchSpace

Problem = tuple[SearchSpace, list[Constraint], dict[str, dict[int, float]]]


@st.composite
def problems(draw: st.DrawFn) -> Problem:
    """Up to four groups, three widths and three limits that can be met; costs rise with the bits or stay."""
    groups = tuple(f"group{index}" for index in range(draw(st.integers(1, 4))))
    bits = tuple(sorted(draw(st.lists(st.integers(2, 8), min_size=1, max_size=3, unique=True))))

    def rising() -> dict[int, float]:
        steps = draw(st.lists(st.integers(0, 9), min_size=len(bits), max_size=len(bits)))
        return dict(zip(bits, map(float, itertools.accumulate(steps)), strict=True))

    constraints = []
    for index in range(draw(st.integers(1, 3))):
        costs = {group: rising() for group in groups}
        smallest, largest = Constraint("", "", costs, 5.0, 0.0).reachable
        limit = smallest + draw(st.floats(0, 1.1)) * (largest - smallest)
        constraints.append(Constraint(f"budget{index}", "units", costs, 5.0, limit))
    # Losses are measured: they need not fall with the bits.
    losses = {group: {width: draw(st.integers(0, 5)) / 3 for width in bits} for group in groups}
    return SearchSpace(groups, bits), constraints, losses
