"""Routes: their declarations, the table of paths, and errors for addresses without a route."""
