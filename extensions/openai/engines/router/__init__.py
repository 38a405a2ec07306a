"""One model over several servers that have it."""
