"""The databases that can hold the store: a file of SQLite, or PostgreSQL."""
