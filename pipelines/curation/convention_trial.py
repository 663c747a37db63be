"""Which way of counting slices a cohort's reports use: every convention tried on its accepted findings."""

from collections.abc import Iterator

import polars as pl

from pipelines.curation.stages.curation import Curation
from pipelines.curation.stages.lesion_stage import ASKED, ct_slices
from pipelines.imaging.lesions.find_lesions import LesionRequest
from pipelines.imaging.lesions.slice_conventions import ConventionExam, score_conventions
from pipelines.imaging.volume import load_nifti
from pipelines.tables.outcomes import Outcome


def try_conventions(curation: Curation) -> pl.DataFrame:
    """How each slice convention does over the accepted findings of the cohort, the best first.

    Columns: origin, base, grid, n, matched, on_peak (findings), rate, peak_rate (null without findings), in_use.
    """
    lake, settings = curation.lake, curation.settings.lesions
    accepted = lake.read_table("findings").filter(pl.col("outcome") == Outcome.ACCEPTED.value)
    by_exam = {str(exam_id): rows for (exam_id,), rows in accepted.group_by("exam_id")}

    def exams() -> Iterator[ConventionExam]:
        for exam in lake.read_table("exams").filter(pl.col("status") == "ok").iter_rows(named=True):
            if exam["exam_id"] in by_exam:
                rows = by_exam[exam["exam_id"]].iter_rows(named=True)
                requests = [LesionRequest(**{name: row[name] for name in ASKED}) for row in rows]
                yield ConventionExam(load_nifti(curation.home.root / exam["suv_path"]), requests, ct_slices(exam))

    scores = score_conventions(exams(), settings=settings.locate)
    return pl.DataFrame(
        [
            {
                "origin": s.convention.origin.value,
                "base": s.convention.base,
                "grid": s.convention.grid.value,
                "n": s.n,
                "matched": s.matched,
                "on_peak": s.on_peak,
                "rate": s.rate,
                "peak_rate": s.peak_rate,
                "in_use": s.convention == settings.convention,
            }
            for s in scores
        ]
    )


def better_convention(table: pl.DataFrame) -> str | None:
    """What to write into petar.toml where another convention puts more findings on their very slice than the one in
    use; null where none does. table: as `try_conventions` gives it."""
    in_use = table.filter(pl.col("in_use"))["on_peak"].sum()
    best = table.sort("on_peak", descending=True, maintain_order=True).row(0, named=True)
    if best["on_peak"] <= in_use:
        return None
    return (
        f"{best['on_peak']} of {best['n']} findings have their peak on the reported slice, in use {in_use}, with\n"
        f'[lesions.convention]\norigin = "{best["origin"]}"\nbase = {best["base"]}\ngrid = "{best["grid"]}"'
    )
