"""The Dagster storey: assets, checks, automation, resources, definitions."""
