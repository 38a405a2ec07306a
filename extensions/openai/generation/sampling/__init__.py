"""Sampling parameters: their table, and their conversion to an engine's own."""
