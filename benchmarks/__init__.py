"""What the server costs, beside its peers: see README.md."""
