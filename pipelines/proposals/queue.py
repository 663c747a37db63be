"""Which proposals of an exam are reviewed: most from the top, some at random, so that calibration can be measured."""

import hashlib
from collections.abc import Sequence

from pipelines.settings import ProposalSettings

TOP, RANDOM = "top", "random"
RANDOM_RANGE = (0.05, 0.5)
"""Probabilities of what is drawn at random."""


def review_queue(
    names: Sequence[str],
    order: Sequence[float],
    p: Sequence[float] | None,
    settings: ProposalSettings,
    groups: Sequence[str] | None = None,
) -> dict[str, str]:
    """Candidate -> how it came into the review list of its exam, at most `most_an_exam` of them.

    Args:
        names: candidates of one exam that nobody answered yet.
        order: by what they are ordered, the greatest first.
        p: their probabilities; null where there is no model: then all come from the top.
        settings: length of the list, and the part from the top.
        groups: of each the group that it is of. The first of every group goes before the second of any, so that one
            tumour with many peaks does not fill the list; null: each is alone.
    """
    n_random = 0 if p is None else round(settings.most_an_exam * (1 - settings.from_top))
    ranked = sorted(range(len(names)), key=lambda n: (-order[n], names[n]))
    if p is not None:
        ranked = [n for n in ranked if p[n] >= settings.least_p]
    if groups is not None:
        firsts = {groups[n]: n for n in reversed(ranked)}
        ranked.sort(key=lambda n: firsts[groups[n]] != n)
    chosen = {names[n]: TOP for n in ranked[: settings.most_an_exam - n_random]}
    low, high = RANDOM_RANGE
    rest = [n for n in range(len(names)) if p is not None and low <= p[n] <= high and names[n] not in chosen]
    # By a hash of the name: the same draw every time, whatever else is in the list.
    rest.sort(key=lambda n: hashlib.blake2b(names[n].encode("utf-8", "surrogatepass"), digest_size=8).digest())
    return chosen | {names[n]: RANDOM for n in rest[:n_random]}
