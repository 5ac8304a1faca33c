"""What a configuration names: model sources, data sets and metrics."""
