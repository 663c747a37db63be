"""Proposals of exams without a report as rows of the review pages, beside those of findings."""

import hashlib

import polars as pl

OUTCOME = "proposal"
"""What the pages call it, in place of a finding's outcome."""
_SAME = (
    *("exam_id", "patient_id", "row_key", "suvmax", "suvmean", "suvpeak", "mtv_ml", "tlg", "diameter_mm"),
    *("stop_reason", "mask_path", "slice", "p", "p_calibrated", "calibration", "listed"),
    *(f"peak_{axis}" for axis in ("i", "j", "k", "x_mm", "y_mm", "z_mm")),
)


def proposal_rows(proposals: pl.DataFrame, exams: pl.DataFrame, most: int) -> pl.DataFrame:
    """Rows of the proposals that are to be reviewed or were, whole exams of them, with the columns of `finding_rows`
    that they have.

    Args:
        proposals: as the table.
        exams: as the table.
        most: proposals in all; the exams are drawn by a hash of their ids.
    """
    shown = proposals.filter(pl.col("listed").is_not_null() | pl.col("answer").is_not_null())
    sizes = shown.group_by("exam_id").len().rows()
    left, chosen = most, []
    for exam_id, size in sorted(sizes, key=lambda one: _drawn_by(one[0])):
        if size > left:
            break
        chosen.append(exam_id)
        left -= size
    own = shown.filter(pl.col("exam_id").is_in(chosen)).join(exams.select("exam_id", "n_slices"), on="exam_id")
    by = pl.when(pl.col("source") == "command").then(pl.lit("the segmenter of the settings")).otherwise("source")
    known = pl.coalesce("p_calibrated", "p").round_sig_figs(2)
    p = pl.format(", p {} ({})", known, "calibration").fill_null("")
    words = pl.col("organ").str.replace_all("_", " ")
    sides = pl.when(pl.col("side").is_null()).then(words).otherwise(words.str.replace_all(r"\s*\b(left|right)\b", ""))
    said = pl.format("Proposal {} of an exam without a report, by {}{}.", "place", by, p)
    return own.sort("exam_id", "place").select(
        *_SAME,
        finding_id="candidate_id",
        outcome=pl.lit(OUTCOME),
        image_outcome=pl.lit(OUTCOME),
        explanation=pl.lit(None, pl.String),
        sentence=said,
        is_lesion=pl.lit(False),
        is_physiologic=pl.lit(False),
        region=pl.lit("no report"),
        organ=sides,
        laterality="side",
        slice_k=pl.col("n_slices") - pl.col("slice"),
    )


def _drawn_by(exam_id: str) -> bytes:
    return hashlib.blake2b(exam_id.encode("utf-8", "surrogatepass"), digest_size=8).digest()
