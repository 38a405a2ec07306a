"""What other extensions of the host do to requests and answers."""
