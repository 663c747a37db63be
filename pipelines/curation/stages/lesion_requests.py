"""What the images are asked for, from the rows of `findings` and `exams`."""

from collections.abc import Mapping
from typing import Any

from pipelines.curation.stages.stage import ShardContext
from pipelines.imaging.lesions.request import LesionRequest
from pipelines.imaging.volume import SliceGrid
from pipelines.tables.outcomes import Outcome

ASKED = (
    "finding_id",
    "sentence",
    "slice",
    "suvmax_reported",
    "laterality",
    "region",
    "organ",
    "subsite",
    "text",
    "size_cm",
    "candidate",
    "joined_at",
    "cut_at",
    "mask_source",
)
"""What of a finding the images are asked for."""


def request_of(finding: Mapping[str, Any]) -> LesionRequest:
    """The request of a row of `findings`."""
    names = [name for name in ASKED if name != "mask_source"]
    return LesionRequest(**{name: finding[name] for name in names if finding[name] is not None or name != "text"})


def is_located(finding: Mapping[str, Any]) -> bool:
    """Whether the images are searched for a finding: it has a number to look for, and no mask that was given for it
    alone. One whose grown mask is replaced is looked for all the same, so that others do not take its peak."""
    if finding["mask_source"] == "marked":
        return True
    return finding["mask_source"] != "given" and finding["suvmax_reported"] is not None


def is_sought(finding: Mapping[str, Any]) -> bool:
    """Whether a finding has a number to look for, which tells of the calibration; a mark of a reviewer has none."""
    return is_located(finding) and finding["suvmax_reported"] is not None


def accepted_findings(context: ShardContext) -> dict[str, list[dict[str, Any]]]:
    """Accepted rows of `findings` of each exam of a shard's `exams` whose inputs changed."""
    found: dict[str, list[dict[str, Any]]] = {e: [] for e in context.rows("exams")["exam_id"]}
    for row in context.rows("findings").iter_rows(named=True):
        if row["outcome"] == Outcome.ACCEPTED and row["exam_id"] in found:
            found[row["exam_id"]].append(row)
    return found


def ct_slices(exam: Mapping[str, Any]) -> SliceGrid | None:
    """Slices of an exam's CT as it was stored, from its row in `exams`; null where it has none."""
    if exam["ct_n_slices"] is None:
        return None
    return SliceGrid(exam["ct_n_slices"], exam["ct_first_mm"], exam["ct_step_mm"])
