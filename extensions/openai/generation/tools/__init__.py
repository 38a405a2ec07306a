"""Tools: how models are shown them, and how their calls are read."""
