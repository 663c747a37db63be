"""Candidates: local maxima of an exam that may be a lesion, with what is measured on each."""
