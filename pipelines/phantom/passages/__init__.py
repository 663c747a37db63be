"""Passages of reports with the mentions that they hold, known by construction."""
