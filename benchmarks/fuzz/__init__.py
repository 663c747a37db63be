"""Damaged inputs of every kind, read by the functions that read them: `make fuzz`."""
