"""PETAR-4B: configuration, vision, inputs, training, generation, metrics. Knows torch, not Dagster."""
