"""Grammars: converts clients' constraints to what llguidance enforces, within bounds."""
