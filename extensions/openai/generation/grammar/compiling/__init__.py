"""Compiles grammars apart from the engine, so that none can hold it up or end it."""
