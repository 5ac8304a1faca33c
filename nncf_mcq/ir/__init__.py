"""From a policy to an IR: packed weights, exact activation grids, verification after reload."""
