from nncf_mcq.training.completion import finish_training
from nncf_mcq.training.module import TrainingModule

__all__ = ["TrainingModule", "finish_training"]
