"""Prompts as files: instructions and worked examples, each file a version of its own."""
