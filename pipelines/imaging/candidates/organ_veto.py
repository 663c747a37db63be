"""The veto of organs: candidates in organs whose uptake is mostly their own. With prominence it is the rule that a
model must beat."""

from pipelines.imaging.lesions.exam_peaks import OrgansAtPeaks

ORGANS = (
    *("brain", "heart", "atrial_appendage_left", "urinary_bladder", "kidney_right", "kidney_left"),
    *("stomach", "duodenum", "small_bowel", "colon"),
)
"""Organs with uptake or excretion of their own in most exams."""
BESIDE_MM = 4.0
"""So near to such an organ a peak is its spill-over [mm]: a voxel of the PET."""
_WALLED = ("urinary_bladder", "kidney_right", "kidney_left", "heart")
"""Of these also what lies beside them: what they excrete, and what moves."""


def is_vetoed(organs: OrgansAtPeaks | None, peak: int) -> bool:
    """Whether a peak lies in one of the organs, or beside one that spills over; false without a label map."""
    if organs is None:
        return False
    distance = dict(zip(organs.names, organs.distance_mm[peak], strict=True))
    inside = any(distance.get(name, 1.0) <= 0 for name in ORGANS)
    return inside or any(distance.get(name, BESIDE_MM + 1) <= BESIDE_MM for name in _WALLED)
