"""Chat APIs that do not speak OpenAI's, as engines."""
