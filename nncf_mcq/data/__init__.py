"""Data sets and how images become inputs."""

from nncf_mcq.data.chunks import chunks, iterate_samples
from nncf_mcq.data.splits import DatasetSplits

__all__ = ["DatasetSplits", "chunks", "iterate_samples"]
