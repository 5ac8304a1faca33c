"""The configuration: its schema, registries, budgets and error messages."""
