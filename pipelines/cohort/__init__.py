"""The input: manifest, report files, corrections, identifiers."""
