"""Train, export and measure the tiny demonstration model `openedai-tiny`."""
