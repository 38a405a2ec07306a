"""Other servers that speak OpenAI's API, as engines."""
