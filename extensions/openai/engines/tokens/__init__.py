"""Vocabularies, and the files that hold them."""
