"""PETAR-4B: architecture, weights, checkpoints."""
