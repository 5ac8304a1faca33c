"""A first configuration from what a newcomer has: a model and a folder of images. Nothing is guessed in silence."""

from nncf_mcq.starter.configuration import InitialConfig, make_initial_config

__all__ = ["InitialConfig", "make_initial_config"]
