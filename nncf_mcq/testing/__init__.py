"""Conformance suites: pytest classes that the tests of an extension subclass.

A suite holds what the rest of the package relies on. The JSON of the tested class is a fixture::

    import pytest
    from nncf_mcq.testing import RangeInitializerTestCase

    class TestThreeSigma(RangeInitializerTestCase):
        @pytest.fixture
        def section(self):
            return {"type": "three_sigma", "factor": 2.5}

The suites need pytest and jsonschema, `pip install 'nncf-mcq[testing]'`; nothing else of the package imports them.
"""

import pytest

# Failed assertions of the suites then show their values, as those of a test file do.
pytest.register_assert_rewrite(
    *(
        f"nncf_mcq.testing.{name}"
        for name in ("activation_ranges", "datasets", "precision_initializers", "range_initializers", "registration")
    )
)

from nncf_mcq.testing.activation_ranges import ActivationRangeInitializerTestCase
from nncf_mcq.testing.datasets import DatasetTestCase, SplitDatasetTestCase
from nncf_mcq.testing.precision_initializers import BudgetPrecisionInitializerTestCase, PrecisionInitializerTestCase
from nncf_mcq.testing.range_initializers import RangeInitializerTestCase
from nncf_mcq.testing.registration import Section

__all__ = [
    "ActivationRangeInitializerTestCase",
    "BudgetPrecisionInitializerTestCase",
    "DatasetTestCase",
    "PrecisionInitializerTestCase",
    "RangeInitializerTestCase",
    "Section",
    "SplitDatasetTestCase",
]
