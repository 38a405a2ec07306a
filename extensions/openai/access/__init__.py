"""Who may call, from where, and how many at once."""
