"""What the rows of `settings.py` are made of, and where their values come from."""
