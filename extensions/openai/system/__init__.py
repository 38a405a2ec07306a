"""The machine, the disk, and the Python environment."""
