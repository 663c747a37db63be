"""Releases of accepted curations: files that others load in one line, pseudonymised, with checksums."""
