"""The files of a model: on this machine, or from the Hugging Face hub."""
