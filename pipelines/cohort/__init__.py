"""What came in: manifest, report files, corrections, identifiers."""
