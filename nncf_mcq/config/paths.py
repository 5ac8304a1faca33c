"""Dotted paths of the sections of a configuration that messages name."""

RANGE_PATH = "compression.initializer.range"
PRECISION_PATH = "compression.initializer.precision"
BUDGET_PATH = f"{PRECISION_PATH}.budget"
GOAL_PATH = f"{PRECISION_PATH}.goal"
