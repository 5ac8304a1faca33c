"""Random spaces, limits and losses as hypothesis draws them."""

from __future__ import annotations

import itertools

from hypothesis import strategies as st

from nncf_mcq.precision_init.costs import Constraint
from nncf_mcq.precision_init.search import SearchSpace

Problem = tuple[SearchSpace, list[Constraint], dict[str, dict[int, float]]]


@st.composite
def problems(draw: st.DrawFn) -> Problem:
    """Up to four groups, three widths and three limits that can be met; costs rise with the bits or stay.

    Groups may have different widths, and limits may hold products of two groups' bits.
    """
    groups = tuple(f"group{index}" for index in range(draw(st.integers(1, 4))))
    widths = st.lists(st.integers(2, 8), min_size=1, max_size=3, unique=True).map(lambda bits: tuple(sorted(bits)))
    choices = {group: draw(widths) for group in groups}

    def rising(bits: tuple[int, ...]) -> dict[int, float]:
        steps = draw(st.lists(st.integers(0, 9), min_size=len(bits), max_size=len(bits)))
        return dict(zip(bits, map(float, itertools.accumulate(steps)), strict=True))

    constraints = []
    for index in range(draw(st.integers(1, 3))):
        costs = {group: rising(bits) for group, bits in choices.items()}
        pairs = draw(st.lists(st.sampled_from([*itertools.combinations(groups, 2), None]), max_size=3, unique=True))
        products = {pair: float(draw(st.integers(0, 5))) for pair in pairs if pair is not None}
        smallest, largest = Constraint("", "", costs, 5.0, 0.0, products=products).reachable
        limit = smallest + draw(st.floats(0, 1.1)) * (largest - smallest)
        constraints.append(Constraint(f"budget{index}", "units", costs, 5.0, limit, products=products))
    # Losses are measured: they need not fall with the bits.
    losses = {group: {width: draw(st.integers(0, 5)) / 3 for width in bits} for group, bits in choices.items()}
    return SearchSpace(choices), constraints, losses
