"""waitress, and what is changed of it: connections, heads, threads."""
