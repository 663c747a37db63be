"""A finding as the images are asked for it."""

import re
from dataclasses import dataclass

from pipelines.imaging.lesions.calibration import Reported
from pipelines.imaging.lesions.location import Sought
from pipelines.imaging.lesions.location_words import place_of

USUAL_STEP_SUV = 0.1
"""Reports give SUV to one decimal."""
_NUMBER = re.compile(r"(?<![\d.,])(\d+)(?:[.,](\d+))?(?![\d.,]*\d)")


@dataclass(frozen=True)
class LesionRequest:
    """A finding to look for.

    sentence: its text. slice, suvmax_reported: as printed; null slice: the report names none. laterality: the one side
    that its text names (null: no side, or both). region, organ, subsite: its fields; null where unknown. text: the part
    of the sentence that is about it; empty: the sentence. candidate: the peak that a person picked, by the number of a
    candidate or as its position (x y z, RAS mm). A lesion that a person marked has a position and no SUVmax.
    """

    finding_id: str
    sentence: str
    slice: int | None
    suvmax_reported: float | None
    laterality: str | None = None
    region: str | None = None
    organ: str | None = None
    subsite: str | None = None
    text: str = ""
    candidate: str | None = None
    size_cm: float | None = None
    """Largest diameter in the text."""
    joined_at: str | None = None
    """Places that a person joined with it (x y z, RAS mm, parted by ;)."""
    cut_at: str | None = None
    """Places that a person cut off it."""

    @property
    def sought(self) -> Sought:
        """Its numbers, its place and its size."""
        if self.suvmax_reported is None:
            raise ValueError(
                f"expected a SUVmax to look for, finding {self.finding_id} has none: locate it by its mark"
            )
        text = self.text or self.sentence
        reported = Reported(self.suvmax_reported, printed_step(text, self.suvmax_reported), self.slice)
        place = place_of(text, self.region, self.organ, self.subsite, one_side(self.laterality))
        return Sought(reported, place, None if self.size_cm is None else 10.0 * self.size_cm)


def one_side(laterality: str | None) -> str | None:
    """'left' or 'right' where the text names just one side, else null."""
    word = (laterality or "").strip().lower()
    return word if word in ("left", "right") else None


def printed_step(text: str, suv: float) -> float:
    """Step of the last digit that a text prints of an SUV: 1 for "8", 0.1 for "8.0", 0.01 for "8.25"; the usual one
    where the text does not hold it."""
    decimals = [len(tail) for head, tail in _NUMBER.findall(text) if abs(float(f"{head}.{tail or 0}") - suv) < 1e-9]
    return 10.0 ** -min(max(decimals), 3) if decimals else USUAL_STEP_SUV
