"""OpenAI's Decisions."""
