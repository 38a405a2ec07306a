"""Pictures and sounds in messages."""
