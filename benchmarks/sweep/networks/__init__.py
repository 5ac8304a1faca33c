"""The networks of the sweep by name; weights are random, of realistic statistics."""

from __future__ import annotations

from typing import Final

from benchmarks.sweep.networks import classification, dense, detection, portable, sequences, several
from benchmarks.sweep.networks.network import Network

__all__ = ["NETWORKS", "Network"]

NETWORKS: Final[dict[str, Network]] = {
    network.name: network
    for family in (classification, dense, detection, sequences, several, portable)
    for network in family.NETWORKS
}
"""Name to network, similar ones side by side."""
