"""Calls whose schema a grammar enforces while they are written."""
