"""Checks of model files before llama.cpp reads them, and llama.cpp's parameters for them."""
