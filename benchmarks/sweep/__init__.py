"""Many networks through this package and `nncf.quantize`: layers, fidelity, size, time and memory of each."""
