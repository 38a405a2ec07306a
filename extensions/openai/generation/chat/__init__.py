"""Chats: messages, reasoning, and the way from a rendered prompt to the parts of an answer."""
