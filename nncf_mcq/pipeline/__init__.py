"""The stages of a quantization, from a float model to its final weights."""
