"""Characters of the operator's folder, for engines whose host has none."""
