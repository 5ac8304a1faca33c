from nncf_mcq.weights.weight_table import WeightTable

__all__ = ["WeightTable"]
