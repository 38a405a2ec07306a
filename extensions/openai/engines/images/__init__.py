"""Models of this machine that make pictures."""
