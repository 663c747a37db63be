"""Mentions: what a reader takes from a passage, one shape for rules and language models."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Mention:
    """One lesion, reference region or physiologic uptake that a passage speaks of.

    `sentence_ids` are the sentences that say it, in reading order; the first of them is the one that holds the SUV,
    where one does. `part` is the mention's own part of that sentence (characters, half-open), null for all of it. What
    the passage does not say is null. The choices of `suv_kind`, `plane`, `exam`, `role`, `laterality`, `comparison` and
    `certainty` are those of `pipelines/tables/report_fields.py`. `slice` counts from the head, 1-based; `prior_suv` is
    the value at an earlier exam. `note` says in words why a value is missing; `refused` why the mention does not count.
    """

    sentence_ids: tuple[str, ...]
    lesion: str | None = None
    slice: int | None = None
    series: int | None = None
    plane: str | None = None
    suv: float | None = None
    suv_kind: str | None = None
    size_cm: float | None = None
    exam: str = "current"
    role: str = "lesion"
    count: int = 1
    region: str | None = None
    organ: str | None = None
    subsite: str | None = None
    laterality: str | None = None
    comparison: str = "none"
    prior_suv: float | None = None
    certainty: str = "certain"
    part: tuple[int, int] | None = None
    note: str | None = None
    refused: str | None = None

    @property
    def suvmax(self) -> float | None:
        """The SUV where it is a maximum: a mean, a peak, an SUL or a ratio is not."""
        return self.suv if self.suv_kind in (None, "max") else None

    @property
    def axial_slice(self) -> int | None:
        """The slice where it is axial."""
        return self.slice if self.plane in (None, "axial") else None

    @property
    def is_finding(self) -> bool:
        """Whether it is uptake of this exam that is looked for in the image: a lesion's, or physiologic."""
        return self.exam == "current" and self.role in ("lesion", "physiologic")


def text_evidence(slice: int | None, suvmax: float | None) -> str:
    """Which of the two values a text gives: one of TEXT_EVIDENCE."""
    if suvmax is not None:
        return "slice+SUV" if slice is not None else "SUV only"
    return "slice only" if slice is not None else "neither"
