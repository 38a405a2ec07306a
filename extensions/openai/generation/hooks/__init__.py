"""Hooks of the host's other extensions, which modify requests and answers."""
