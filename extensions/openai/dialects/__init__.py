"""Families of wire shapes over the one generation: what clients of other APIs send and read."""
