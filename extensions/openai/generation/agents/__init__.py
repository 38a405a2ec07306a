"""Agents: what the operator makes of the model, which requests choose by name."""
