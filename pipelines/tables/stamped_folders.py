"""Folders of exams with a stamp: the key of what they were made from, written last; one without is unfinished."""

import json
import shutil
from pathlib import Path

from pipelines.tables import atomic


def stamp_of(folder: Path, name: str) -> str | None:
    """Key of what a folder holds; null where it was not finished.

    Args:
        name: file of the stamp.
    """
    try:
        key = json.loads((folder / name).read_bytes()).get("key")
        return key if isinstance(key, str) else None
    except (OSError, ValueError, AttributeError):
        return None


def write_stamp(folder: Path, name: str, key: str) -> None:
    """Says that a folder is finished, and what it was made from."""
    atomic.write_bytes(folder / name, json.dumps({"key": key}).encode())


def remove_others(folder: Path, name: str, keep: set[str]) -> int:
    """How many stamped folders that are not to be kept were removed; folders of others' making stay."""
    removed = 0
    for path in folder.iterdir() if folder.is_dir() else ():
        if path.name not in keep and (path / name).is_file():
            shutil.rmtree(path)
            removed += 1
    return removed
