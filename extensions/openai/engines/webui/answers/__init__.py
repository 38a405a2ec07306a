"""How an answer comes out of a webui: by tokens, by a text that grows, through another extension."""
