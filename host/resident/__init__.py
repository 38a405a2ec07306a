"""Models that are loaded on request, each in a child process of this host."""
