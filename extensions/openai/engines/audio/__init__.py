"""Models that hear and speak, in this process or beside it."""
