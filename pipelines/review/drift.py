"""Drift between two curations: does a tracer or a region yield fewer lesions than before, are more findings rejected
for a reason?
"""

import polars as pl

from pipelines.review.quality_check_result import CheckResult, result_of

MIN_FINDINGS = 30
"""A share of fewer findings than these, before or now, says nothing."""
MAX_YIELD_CHANGE = 0.10
MAX_REJECT_CHANGE = 0.05
MIN_Z = 3.0
"""Standard errors that a change must exceed too, so that a small group's chance is no drift."""


def outcomes(exams: pl.DataFrame, findings: pl.DataFrame, localisations: pl.DataFrame) -> pl.DataFrame:
    """tracer, region, outcome, is_accepted: a row a finding of a curation, with the image stage's outcome where there
    is one.
    """
    return (
        findings.select("exam_id", "finding_id", "region", text="outcome")
        .join(localisations.select("finding_id", image="outcome"), on="finding_id", how="left", maintain_order="left")
        .join(exams.select("exam_id", "tracer"), on="exam_id", how="left", maintain_order="left")
        .select(
            pl.col("tracer").fill_null("(unknown)"),
            pl.col("region").fill_null("(unknown)"),
            outcome=pl.when(pl.col("text") == "accepted").then(pl.coalesce("image", "text")).otherwise("text"),
            is_accepted=pl.col("text") == "accepted",
        )
    )


def check_yield_drift(before: pl.DataFrame, now: pl.DataFrame, most: float = MAX_YIELD_CHANGE) -> CheckResult:
    """The share of accepted findings that become lesions is that of the curation before, in every tracer and region.

    `before` and `now` are what `outcomes` gives. Groups of fewer than MIN_FINDINGS, before or now, are not judged.
    """
    parts = [
        _shares(before, now, by).select(group=pl.format("{}: {}", pl.lit(by), pl.col(by)), **_KEPT)
        for by in ("tracer", "region")
    ]
    groups = pl.concat(parts)
    bad = groups.filter(_drifted(most))
    words = f"Share of accepted findings that become lesions, by tracer and region, changed by over {most:.0%}"
    return result_of("yield_drift", "warning", words, bad, groups.height)


def check_reject_drift(before: pl.DataFrame, now: pl.DataFrame, most: float = MAX_REJECT_CHANGE) -> CheckResult:
    """The share of findings that each reason rejects is that of the curation before."""
    n_before, n_now = before.height, now.height
    if min(n_before, n_now) < MIN_FINDINGS:
        empty = pl.DataFrame(schema={"reason": pl.String, "share_before": pl.Float64, "share_now": pl.Float64})
        return result_of("reject_drift", "warning", _reject_words(most), empty, 0)
    counts = (
        _counts(before, "outcome", "k_before")
        .join(_counts(now, "outcome", "k_now"), on="outcome", how="full", coalesce=True)
        .filter(pl.col("outcome") != "lesion")
        .with_columns(pl.col("k_before", "k_now").fill_null(0), n_before=pl.lit(n_before), n_now=pl.lit(n_now))
    )
    groups = _with_shares(counts).select(reason="outcome", **_KEPT)
    return result_of("reject_drift", "warning", _reject_words(most), groups.filter(_drifted(most)), groups.height)


def _reject_words(most: float) -> str:
    return f"Share of findings rejected for a reason, changed by over {most:.0%}"


_KEPT = {name: pl.col(name) for name in ("n_before", "n_now", "share_before", "share_now", "z")}


def _shares(before: pl.DataFrame, now: pl.DataFrame, by: str) -> pl.DataFrame:
    """Lesions per accepted finding, before and now, of every group that is large enough in both."""
    frames = []
    for frame, when in ((before, "before"), (now, "now")):
        accepted = frame.filter("is_accepted").group_by(by)
        is_lesion = (pl.col("outcome") == "lesion").sum().cast(pl.Int64)
        frames.append(accepted.agg(pl.len().cast(pl.Int64).alias(f"n_{when}"), is_lesion.alias(f"k_{when}")))
    joined = frames[0].join(frames[1], on=by)
    return _with_shares(joined.filter(pl.min_horizontal("n_before", "n_now") >= MIN_FINDINGS))


def _counts(frame: pl.DataFrame, by: str, name: str) -> pl.DataFrame:
    return frame.group_by(by).agg(pl.len().cast(pl.Int64).alias(name))


def _with_shares(counts: pl.DataFrame) -> pl.DataFrame:
    """With the shares and how many standard errors of two proportions lie between them."""
    shares = counts.with_columns(
        share_before=pl.col("k_before") / pl.col("n_before"),
        share_now=pl.col("k_now") / pl.col("n_now"),
        pooled=(pl.col("k_before") + pl.col("k_now")) / (pl.col("n_before") + pl.col("n_now")),
    )
    error = (pl.col("pooled") * (1 - pl.col("pooled")) * (1 / pl.col("n_before") + 1 / pl.col("n_now"))).sqrt()
    change = pl.col("share_now") - pl.col("share_before")
    return shares.with_columns(z=pl.when(error > 0).then(change / error).otherwise(0.0))


def _drifted(most: float) -> pl.Expr:
    return ((pl.col("share_now") - pl.col("share_before")).abs() > most) & (pl.col("z").abs() > MIN_Z)
