"""Calls that match a schema, as a grammar enforces it while they are written."""
