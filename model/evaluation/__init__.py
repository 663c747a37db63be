"""Texts, metrics, comparison, ablation, robustness, reader study."""
