from nncf_mcq.starter.configuration import InitialConfig, make_initial_config

__all__ = ["InitialConfig", "make_initial_config"]
