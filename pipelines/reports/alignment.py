"""Mentions of different readers that are of the same lesion."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.optimize import linear_sum_assignment

from pipelines.reports.mentions import Mention

SUV_DECIMALS = 2
"""SUVs are compared after rounding to this: 4.2 and 4.20 are one value."""


@dataclass(frozen=True)
class Said:
    """A mention and the reader that gives it."""

    reader: str
    mention: Mention


def rounded(suv: float | None) -> float | None:
    """An SUV as it is compared."""
    return None if suv is None else round(suv, SUV_DECIMALS)


def aligned(readings: Sequence[tuple[str, Sequence[Mention]]]) -> list[list[Said]]:
    """Groups of mentions, at most one a reader in each, in the order of the readers and of what they say.

    Each reader's mentions are assigned to the groups so that the likeness to the groups' first mentions is the largest
    in sum (Hungarian algorithm); what is like none begins a group of its own.

    Args:
        readings: (reader, its mentions).
    """
    groups: list[list[Said]] = []
    for reader, mentions in readings:
        taken: set[int] = set()
        if groups and mentions:
            likeness = np.array([[max(_likeness(s.mention, m) for s in group) for m in mentions] for group in groups])
            for row, column in zip(*linear_sum_assignment(likeness, maximize=True), strict=True):
                if likeness[row, column] > 0:
                    groups[row].append(Said(reader, mentions[int(column)]))
                    taken.add(int(column))
        groups += [[Said(reader, m)] for n, m in enumerate(mentions) if n not in taken]
    return groups


def _likeness(a: Mention, b: Mention) -> float:
    """How much speaks for two mentions being of one lesion: by sentences, values and place; 0 where they are not."""
    shared = len(set(a.sentence_ids) & set(b.sentence_ids))
    if not shared:
        return 0.0
    suv = _agree(rounded(a.suv), rounded(b.suv))
    number = _agree(a.slice, b.slice)
    if {a.laterality, b.laterality} == {"left", "right"} and suv != 1 and number != 1:
        return 0.0
    if suv == -1 and number != 1:
        # Two values of one sentence are two mentions, unless the same slice says that one of them is misread.
        return 0.0
    if number == -1 and suv != 1:
        return 0.0
    same = [a.organ == b.organ, a.subsite == b.subsite, a.laterality == b.laterality, a.region == b.region]
    overlap = shared / len({*a.sentence_ids, *b.sentence_ids})
    return 1.0 + 4.0 * max(suv, 0) + 3.0 * max(number, 0) + 0.5 * sum(same) + overlap


def _agree(a: float | None, b: float | None) -> int:
    """1 where two values are equal, -1 where they differ, 0 where one is not known."""
    return 0 if a is None or b is None else 1 if a == b else -1
