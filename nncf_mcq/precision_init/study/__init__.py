"""Where searches are kept, so that they can be resumed and shared."""

from nncf_mcq.precision_init.study.memo import StudyMemo
from nncf_mcq.precision_init.study.storage import STUDY_NAME, StoredSearch, StudyStorage, quiet_optuna
from nncf_mcq.precision_init.study.subject import Subject

__all__ = ["STUDY_NAME", "StoredSearch", "StudyMemo", "StudyStorage", "Subject", "quiet_optuna"]
