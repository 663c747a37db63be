"""Checks as functions of tables and volumes."""
