"""Tokens, vocabularies, and the GGUF files that hold them."""
