"""Models that come and go beside the host's own one, each in a process of its own."""
