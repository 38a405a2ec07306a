"""The adapters to whatever generates text; `base.py` is what they all look like."""
