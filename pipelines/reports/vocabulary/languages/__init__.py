"""Glossaries of languages for the English words of the cues and the lexicon."""
