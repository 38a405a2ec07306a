"""Responses: bodies, events and errors, in the dialect of the route."""
