"""Tools that this server runs itself: those of MCP servers and of extensions, in the operator's file."""
