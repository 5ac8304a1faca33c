"""Names that NNCF 2.19, the last release of NNCF 2, has elsewhere than NNCF 3: the only module that knows both."""

from __future__ import annotations

from typing import Any

from nncf.common.graph.graph import NNCFGraph

try:
    from nncf.common.factory import build_graph as _build_graph
    from nncf.common.tensor_statistics.collectors import TensorCollector
    from nncf.common.tensor_statistics.statistics import MinMaxTensorStatistic
except ImportError:  # NNCF 2
    from nncf.common.factory import NNCFGraphFactory
    from nncf.experimental.common.tensor_statistics.collectors import TensorCollector
    from nncf.experimental.common.tensor_statistics.statistics import MinMaxTensorStatistic

    _build_graph = NNCFGraphFactory.create

__all__ = ["MinMaxTensorStatistic", "TensorCollector", "build_graph"]


def build_graph(model: Any) -> NNCFGraph:
    """NNCF's graph of a model of any backend."""
    return _build_graph(model)
