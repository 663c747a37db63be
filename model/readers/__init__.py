"""Readers of reports that are trained here."""
