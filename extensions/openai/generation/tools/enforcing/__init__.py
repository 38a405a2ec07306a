"""Calls that are kept to a schema: by a grammar while they are written."""
