"""Proposals: lesions of exams that no report speaks of, ranked for review."""
