"""Sets that share a member, joined."""

from __future__ import annotations

from collections.abc import Iterable

from scipy.cluster.hierarchy import DisjointSet


def merge_overlapping(sets: Iterable[Iterable[str]]) -> list[set[str]]:
    """Unions of the sets that share a member, directly or through other sets, in the order of their first members."""
    joined = DisjointSet()
    for members in sets:
        first = None
        for member in members:
            joined.add(member)
            first = member if first is None else first
            joined.merge(first, member)
    unions: list[set[str]] = joined.subsets()
    return unions
