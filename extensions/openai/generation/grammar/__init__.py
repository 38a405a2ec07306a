"""Grammars: from what clients send to what llguidance enforces, bounded all the way."""
