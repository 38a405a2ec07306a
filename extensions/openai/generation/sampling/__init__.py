"""Sampling parameters: the table of them, and what becomes of each."""
