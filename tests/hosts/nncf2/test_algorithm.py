"""The parts of NNCF that the algorithm relies on, in NNCF 2.19: the tests of NNCF 3, run here."""

from __future__ import annotations

import pytest

pytest.register_assert_rewrite("tests.model.test_algorithm")

from tests.model.test_algorithm import *  # noqa: E402, F403

# With the tracing that `create_compressed_model` needs, the torch backend names operations by other scopes.
del test_a_torch_model_gets_the_bits_and_ranges_of_the_tables  # noqa: F821
