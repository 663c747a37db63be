"""Private DICOM attributes, found by who made them: the block of a group that a creator gets differs from file to
file."""

from typing import Any

from pydicom.dataset import Dataset


def private_value(dataset: Dataset, group: int, creator: str, element: int) -> Any:
    """The value of a private attribute, None where it is missing or damaged.

    Where a group names no creator at all (they are lost in some exports), its first block is read.

    Args:
        group: of the attribute, an odd number.
        creator: as the creator's element says it; blanks and case do not count.
        element: number within the creator's block, 0 to 255.
    """
    try:
        creators = {
            block: str(found.value or "").strip("\0 ").upper()
            for block in _blocks(dataset, group)
            if (found := dataset.get((group, block))) is not None
        }
        own = [block for block, name in creators.items() if name == creator.upper()]
        for block in own if creators else [0x10]:
            found = dataset.get((group, block << 8 | element))
            if found is not None:
                value = found.value
                return value.decode("ascii", errors="ignore") if isinstance(value, bytes) else value
    except Exception:
        return None  # A damaged private attribute says nothing.
    return None


def _blocks(dataset: Dataset, group: int) -> list[int]:
    """Numbers of the creators' elements that a group has, 16 to 255."""
    return [tag & 0xFFFF for tag in list(dataset.keys()) if tag >> 16 == group and 0x10 <= tag & 0xFFFF <= 0xFF]
