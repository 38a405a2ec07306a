"""What engines share whose model runs in another server: HTTP, events, failures, estimates."""
