"""The place that a label map, or a person, names, as our own reader reads it."""

from pipelines.reports.structure import Fields, structure

NO_PLACE = Fields(None, None, None, None, "none")


def structure_of_place(organ: str | None, side: str | None) -> Fields:
    """Region, organ and part of a place; all null where neither organ nor side is known.

    Args:
        organ: class of the label map, or what a reviewer wrote.
        side: left or right, of the body.
    """
    words = (organ or "").replace("_", " ").split()
    named = [word for word in words if word not in ("left", "right") or side is None]
    place = " ".join(filter(None, (side, *named)))
    return structure(f"Hypermetabolic lesion in the {place} with SUVmax 5.0 (slice 50).") if place else NO_PLACE
