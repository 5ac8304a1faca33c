from nncf_mcq.pipeline.preparation import Preparation

__all__ = ["Preparation"]
