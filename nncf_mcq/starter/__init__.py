"""A first configuration from what a newcomer has: a model and a folder of images. Nothing is guessed in silence."""

from nncf_mcq.starter.configuration import Starter, make_starter

__all__ = ["Starter", "make_starter"]
