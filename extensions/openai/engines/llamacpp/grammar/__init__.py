"""Grammars with llama.cpp: its tokenizer for them, a trial at load, and answers matched in this process."""
