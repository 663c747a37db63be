"""Identifiers of persons in headers and texts, and what of a cohort's ids goes into the lake."""
