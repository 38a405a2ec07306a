"""Batches at work: their files looked through, their lines answered as requests of their keys."""
