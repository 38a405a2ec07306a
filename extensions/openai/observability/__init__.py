"""What operators see: records of requests, logs, metrics."""
