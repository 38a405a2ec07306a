"""The model that text-generation-webui has loaded."""
