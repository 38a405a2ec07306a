"""The loaders of webuis, an adapter each."""
