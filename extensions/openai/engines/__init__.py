"""Adapters to the back ends that generate text; `protocol.py` says what all have in common."""
