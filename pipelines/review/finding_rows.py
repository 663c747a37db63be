"""Findings as reviewers judge them, with the fields of text and image, and a fingerprint that shows when it changed."""

import hashlib
import json
from collections.abc import Mapping
from typing import Any

import polars as pl

from pipelines.tables.outcomes import Outcome

_DRAWN = (
    *("outcome", "sentence", "slice", "suvmax_reported", "laterality"),
    *(f"peak_{axis}" for axis in "ijk"),
    *(f"box_{axis}{end}" for axis in "ijk" for end in "01"),
    *("n_voxels", "mtv_ml", "suvmax", "suvmean", "threshold_suv"),
)
"""Columns that say where the contour is and what it was drawn for."""
_READ = ("region", "organ", "subsite", "comparison")
"""Columns that were read of the sentence beside them."""


def finding_rows(localisations: pl.DataFrame, findings: pl.DataFrame) -> pl.DataFrame:
    """One row a finding: the fields of its text, those of its image (`outcome`, `explanation`, `image_outcome`), and
    whether it became a lesion (`is_lesion`).

    `localisations` as the table (or the view `lesions`, which lacks the near misses).
    """
    if "outcome" not in localisations.columns:
        localisations = localisations.with_columns(outcome=pl.lit(Outcome.LESION.value))
    taken = {"exam_id", "patient_id", "row_key", "sentence", "slice", "suvmax_reported"}
    shared = [
        c
        for c in localisations.columns
        if c in findings.columns and c != "finding_id" and (c in taken or c not in ("outcome", "explanation"))
    ]
    image = localisations.drop(shared).rename(
        {
            "outcome": "image_outcome",
            **({"explanation": "image_explanation"} if "explanation" in localisations.columns else {}),
        }
    )
    rows = findings.join(image, on="finding_id", how="left")
    missing = [
        c
        for c in (
            "image_explanation",
            "mtv_ml",
            "mask_path",
            "slice_k",
            "nearest_suvmax_on_slice",
            "nearest_slice_with_suvmax",
        )
        if c not in rows.columns
    ]
    rows = rows.with_columns([pl.lit(None).alias(c) for c in missing])
    outcome = pl.coalesce("image_outcome", "outcome")
    return rows.with_columns(
        outcome=outcome,
        explanation=pl.coalesce("image_explanation", "explanation")
        if "explanation" in rows.columns
        else pl.col("image_explanation"),
        is_lesion=(outcome == Outcome.LESION.value).fill_null(False),
    )


def finding_fingerprint(row: Mapping[str, Any]) -> str:
    """Fingerprint of a row of `finding_rows`, in two parts: the contour with the numbers that it was drawn for, and the
    fields that were read beside them.

    Of values and not of what made them: another version of the code that draws the same contour leaves it as it is.
    """
    return "-".join(_hash([_rounded(row.get(name)) for name in names]) for names in (_DRAWN, _READ))


def answer_holds(answer: str, then: str, now: str) -> bool:
    """Whether an answer to a finding with the fingerprint `then` holds of it as it is now.

    The contour is judged by all answers, the fields by "wrong text" alone.
    """
    return then == now or (answer != "wrong text" and then.split("-")[0] == now.split("-")[0])


def _hash(values: list[Any]) -> str:
    return hashlib.blake2b(json.dumps(values).encode(), digest_size=6).hexdigest()


def _rounded(value: Any) -> Any:
    # The last digits of a sum differ from processor to processor; nobody sees them.
    return f"{value:.4g}" if isinstance(value, float) else value
