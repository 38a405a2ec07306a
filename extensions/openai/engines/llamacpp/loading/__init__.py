"""What happens to a model's files before llama.cpp gets them, and how it is set up for them."""
