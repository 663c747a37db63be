"""The sharded stages, an exam at a time."""
