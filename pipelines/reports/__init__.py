"""Reports: sentences, readers, consensus, structured fields."""
