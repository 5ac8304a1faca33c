"""Optuna's own suites for samplers.

Left out is `MultiObjectiveSamplerTestCase`: a search has one score. The suites know nothing of groups: what they sample
relatively is a space other than the problem's, where values are random.
"""

from __future__ import annotations

from collections.abc import Callable

import optuna
import pytest
from optuna.testing.pytest_samplers import BasicSamplerTestCase, RelativeSamplerTestCase, SingleOnlySamplerTestCase

from nncf_mcq.precision_init.rl.ddpg.algorithm import DdpgSampler
from tests.precision_init.rl.ddpg.problems import counted_problem


class TestDdpgSampler(BasicSamplerTestCase, RelativeSamplerTestCase, SingleOnlySamplerTestCase):
    @pytest.fixture
    def sampler(self) -> Callable[[], optuna.samplers.BaseSampler]:
        return lambda: DdpgSampler(counted_problem(2), seed=0)
