"""Texts of a trained model: generation, command line, server."""
