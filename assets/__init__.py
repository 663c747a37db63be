"""The Dagster layer: assets, checks, automation, resources, definitions."""
