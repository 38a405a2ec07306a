"""The extension inside a real checkout of text-generation-webui: `make test-webui WEBUI_DIR=path`."""
