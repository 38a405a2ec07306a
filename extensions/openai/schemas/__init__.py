"""What request bodies look like, and what is said of one that is wrong."""
