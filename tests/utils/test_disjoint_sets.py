from __future__ import annotations

import itertools

from hypothesis import given
from hypothesis import strategies as st

from nncf_mcq.utils.disjoint_sets import merge_overlapping


@given(st.lists(st.lists(st.sampled_from("abcdefgh"), max_size=4), max_size=8))
def test_sets_that_share_a_member_are_one(sets: list[list[str]]) -> None:
    merged = merge_overlapping(sets)
    assert all(not first & second for first, second in itertools.combinations(merged, 2))
    assert set().union(*merged) == {member for members in sets for member in members}
    for members in sets:
        assert sum(bool(group & set(members)) for group in merged) == min(len(members), 1)
    for group in merged:
        # Nothing holds a union together but the sets in it: no part of it is apart from the rest.
        inside = [set(members) for members in sets if group & set(members)]
        reached = {min(group)}
        for _ in inside:
            reached = reached.union(*(members for members in inside if members & reached))
        assert reached == group


def test_the_order_is_that_of_the_first_members() -> None:
    assert merge_overlapping([("d",), ("b", "c"), (), ("e", "d"), ("c", "a")]) == [{"d", "e"}, {"a", "b", "c"}]
