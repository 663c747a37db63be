"""What is suspicious about a contour: an organ that the sentence does not name, a size that contradicts it, a hot
neighbour that no finding names."""

import re
from dataclasses import asdict, dataclass
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipelines.imaging.lesions.measures import Measures
from pipelines.imaging.lesions.region import Contour
from pipelines.imaging.organ_labels import PHYSIOLOGIC
from pipelines.reports.vocabulary.vocabulary import package_vocabulary

LEAST_SHARE = 0.1
"""Part of a mask that must lie in an organ: less is the blur, and what a label map is off at its border."""
MOST_RATIO = 2.0
"""Ratio of two diameters up to which they do not contradict each other."""
ORGAN_NAMES = {"urinary_bladder": "bladder", "kidney_right": "kidney", "kidney_left": "kidney"}
"""Class name -> organ as the lexicon names it, where they differ."""


@dataclass(frozen=True)
class ContourFlags:
    """What of a contour is to be looked at, named as the columns of `lesions`; null where it could not be told."""

    organs_met: str | None = None
    size_ratio: float | None = None
    neighbour_ml: float | None = None
    neighbour_suvmax: float | None = None

    def to_row(self) -> dict[str, Any]:
        """The flags by column name."""
        return asdict(self)

    @property
    def message(self) -> str:
        """What is suspicious, in words; empty where nothing is."""
        said = []
        if self.organs_met:
            said.append(f"its mask lies in the {self.organs_met}, which the sentence does not name")
        if self.size_ratio is not None and not 1.0 / MOST_RATIO <= self.size_ratio <= MOST_RATIO:
            said.append(f"its diameter is {self.size_ratio:.1f} times the size in the sentence")
        return "; ".join(said)


NO_FLAGS = ContourFlags()


def flags_of(
    made: Contour, measures: Measures, labels: NDArray[np.uint8] | None, named: frozenset[str], size_cm: float | None
) -> ContourFlags:
    """The flags of a contour.

    Args:
        made: the contour.
        measures: of its mask.
        labels: label map on the image's grid (organ_labels.CLASSES); null: none.
        named: organs that the sentence names (`named_organs`).
        size_cm: largest diameter in the sentence.
    """
    met = None if labels is None else ", ".join(sorted(organs_met(made, labels) - named))
    ratio = None if not size_cm else measures.diameter_mm / (10.0 * size_cm)
    neighbour = made.neighbour
    return ContourFlags(met, ratio, neighbour.volume_ml if neighbour else None, neighbour.suvmax if neighbour else None)


def organs_met(made: Contour, labels: NDArray[np.uint8]) -> frozenset[str]:
    """The organs with uptake of their own that a tenth and more of a mask lies in."""
    inside = labels[tuple(slice(c, c + n) for c, n in zip(made.corner, made.mask.shape))][made.mask]
    share: dict[str, float] = {}
    for label, name in PHYSIOLOGIC.items():
        organ = ORGAN_NAMES.get(name, name)
        share[organ] = share.get(organ, 0.0) + float(np.mean(inside == label)) if len(inside) else 0.0
    return frozenset(organ for organ, part in share.items() if part >= LEAST_SHARE)


def named_organs(sentence: str, organ: str | None = None) -> frozenset[str]:
    """Those of the organs that `organs_met` knows which a sentence names, by the lexicon, or that its fields do."""
    named = {name for name, phrases in _phrases().items() if phrases.search(sentence.lower())}
    return frozenset(named | ({organ} if organ else set()))


@cache
def _phrases() -> dict[str, re.Pattern[str]]:
    organs = {ORGAN_NAMES.get(name, name) for name in PHYSIOLOGIC.values()}
    terms = package_vocabulary().lexicon.terms
    return {
        organ: re.compile(
            r"\b(?:" + "|".join(re.escape(p) for p, term in terms.items() if term.organ == organ) + r")\b"
        )
        for organ in sorted(organs)
    }
