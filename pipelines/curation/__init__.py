"""The five sharded stages, and what runs them."""
