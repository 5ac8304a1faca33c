from __future__ import annotations

from benchmarks.sequential_pass import FORMS, measure
from nncf_mcq.utils.progress import SilentProgress, Stages
from nncf_mcq.weights import input_shift
from tests.models import small_calibrated_model


def test_both_forms_take_turns_and_the_limit_is_put_back() -> None:
    limit, (calibrated, table) = int(input_shift.CUT_BYTES), small_calibrated_model()
    seconds = measure(calibrated, table, 4, 2, Stages(SilentProgress()))
    assert seconds.keys() == FORMS.keys()
    assert all(len(found) == 2 and min(found) > 0 for found in seconds.values())
    assert limit == input_shift.CUT_BYTES
