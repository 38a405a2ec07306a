"""What models of other servers do besides writing text: a module each."""
