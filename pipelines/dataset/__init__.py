"""Organ maps, splits, targets, samples, the external set."""
