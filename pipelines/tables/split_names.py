"""Splits by the words that data sets name them by."""

from collections.abc import Mapping

SPLIT_WORDS: Mapping[str, tuple[str, ...]] = {
    "train": ("train", "training", "tr"),
    "val": ("val", "valid", "validation", "dev"),
    "test": ("test", "testing", "ts"),
}


def split_named(word: str | None) -> str | None:
    """The split that a word means; None where it means none."""
    said = (word or "").strip().lower()
    return next((split for split, words in SPLIT_WORDS.items() if said in words), None)
