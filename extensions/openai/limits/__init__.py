"""Limits of callers, and the queue for the engine's slots."""
