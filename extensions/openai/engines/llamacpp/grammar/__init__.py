"""Grammars under llama.cpp: its tokenizer for them, a trial at load, and answers that are matched here."""
