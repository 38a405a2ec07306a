"""What clients get: bodies, events, errors, in the dialect of the route."""
