"""The float model: loading, the layers that NNCF would quantize, and how models are run."""
