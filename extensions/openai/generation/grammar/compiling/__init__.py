"""Compiles grammars outside the engine, so that none can block or crash it."""
