"""What an operator sees of a running server: metrics, logs, and what was asked and answered."""
