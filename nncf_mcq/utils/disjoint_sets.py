"""Sets that share a member, joined."""

from __future__ import annotations

from collections.abc import Iterable

# NNCF has imported it by now; SciPy's is in a package that takes a fifth of a second.
from networkx.utils import UnionFind


def merge_overlapping(sets: Iterable[Iterable[str]]) -> list[set[str]]:
    """Unions of the sets that share a member, directly or through other sets, in the order of their first members."""
    joined = UnionFind()
    for members in sets:
        # Of no members too.
        joined.union(*members)
    return [set(union) for union in joined.to_sets()]
