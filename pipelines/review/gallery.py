"""The review gallery: a folder of static HTML that opens from disk, with a page for every finding that was drawn
for review.

Nothing in it needs a server or a network. Answers live in the browser's storage until the reviewer saves them as a
CSV, which
`pipelines/review/reviews.py` reads back.
"""

import hashlib
import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from pipelines.review import html_page
from pipelines.review.exam_pages import ExamSources, PagesSummary, page_of, write_exam_pages
from pipelines.review.finding_pictures import draw_all, needs_picture, picture_name
from pipelines.review.finding_rows import finding_fingerprint, finding_rows
from pipelines.review.proposal_rows import proposal_rows
from pipelines.review.quality_checks import CheckResult
from pipelines.review.reviews import to_review_again
from pipelines.settings import ReviewSettings
from pipelines.tables import atomic
from pipelines.tables.answer_kinds import ANSWER_KINDS, Subject, subject_of
from pipelines.tables.home import Home

SIZE_CLASSES_ML = (2.0, 10.0)
"""Upper ends of the small and the medium class of lesions, by MTV."""

_TEMPLATE = Path(__file__).with_name("gallery.html")
_MEASURES = (
    ("SUVmax measured", "suvmax", "SUV"),
    ("SUVmax reported", "suvmax_reported", "SUV"),
    ("SUVmean", "suvmean", "SUV"),
    ("SUVpeak", "suvpeak", "SUV"),
    ("MTV", "mtv_ml", "mL"),
    ("TLG", "tlg", "SUV mL"),
    ("diameter", "diameter_mm", "mm"),
    ("threshold", "threshold_suv", "SUV"),
    ("background", "background_suv", "SUV"),
    ("unnamed neighbour", "neighbour_ml", "mL"),
    ("its SUVmax", "neighbour_suvmax", "SUV"),
    ("size in the sentence", "size_cm", "cm"),
)
_FACTS = (
    ("region", "region"),
    ("organ", "organ"),
    ("sub-site", "subsite"),
    ("side", "laterality"),
    ("comparison", "comparison"),
    ("contour", "method"),
    ("stopped", "stop_reason"),
    ("located by", "evidence"),
    ("posterior", "posterior"),
    ("calibration", "calibration"),
    ("shares voxels with", "shares_with"),
)
_PEAK = ("peak_i", "peak_j", "peak_k")
"""A proposal is judged by its peak: model and contour may change meanwhile."""
_SIDE_WORDS = re.compile(r"\b(?:left|right|bilateral(?:ly)?|both)\b", re.IGNORECASE)
_NUMBER = re.compile(r"\d+(?:\.\d+)?")


@dataclass(frozen=True)
class GallerySettings:
    """What is drawn for review. `home` is where relative paths of volumes and masks start."""

    home: Home
    curation: str
    """Version of the curation; answers name it, and the browser keeps those of different curations apart."""
    n_lesions: int = 200
    n_rejected: int = 100
    n_proposals: int = 200
    seed: int = 0
    review: ReviewSettings = field(default_factory=ReviewSettings)
    sources: ExamSources = field(default_factory=ExamSources)
    """Where the exams' own CTs are."""


@dataclass(frozen=True)
class GallerySummary:
    """What a gallery holds. `without_picture` says why, by finding."""

    index: Path
    n_lesions: int
    n_rejected: int
    n_proposals: int
    n_drawn: int
    """Pictures drawn now; the others were there from an earlier call."""
    n_reused: int
    n_removed: int
    without_picture: Mapping[str, str]
    pages: PagesSummary
    """Of the exams as a whole."""


def draw_sample(frame: pl.DataFrame, strata: Sequence[str], n: int, seed: int) -> list[str]:
    """`n` finding ids out of a frame (all where it has no more), in the shares of its strata, at least one of each.

    The draw depends on the ids and the seed alone, not on the order of rows: a finding that comes in or leaves
    changes little else.
    """
    if n >= frame.height:
        return sorted(frame["finding_id"])
    groups: dict[tuple[str, ...], list[str]] = {}
    for row in frame.iter_rows(named=True):
        groups.setdefault(tuple(str(row[s]) for s in strata), []).append(row["finding_id"])
    quotas = _quotas({key: len(members) for key, members in groups.items()}, n)
    chosen: list[str] = []
    for key, members in groups.items():
        members.sort(key=lambda i: hashlib.blake2b(f"{seed}:{i}".encode(), digest_size=8).digest())
        chosen += members[: quotas[key]]
    return sorted(chosen)


def _quotas(sizes: Mapping[tuple[str, ...], int], n: int) -> dict[tuple[str, ...], int]:
    """Shares of `n` by the largest remainder, every stratum with one at least while `n` allows it."""
    largest_first = sorted(sizes, key=lambda k: (-sizes[k], k))
    quotas = {k: 1 if place < n else 0 for place, k in enumerate(largest_first)}
    total, left = sum(sizes.values()), n - sum(quotas.values())
    while left > 0:
        # The stratum that lies farthest under its share gets the next place.
        key = max(
            (k for k in largest_first if quotas[k] < sizes[k]),
            key=lambda k: (n * sizes[k] / total - quotas[k], sizes[k], k),
        )
        quotas[key] += 1
        left -= 1
    return quotas


def size_class(mtv_ml: float | None) -> str:
    """small, medium or large by metabolic volume; unknown where there is none."""
    if mtv_ml is None:
        return "unknown"
    small, medium = SIZE_CLASSES_ML
    return "small" if mtv_ml < small else "medium" if mtv_ml < medium else "large"


def flags_of(results: Iterable[CheckResult]) -> pl.DataFrame:
    """The rows that checks showed (finding_id or exam_id, check, severity, reason), for `write_gallery`.

    A check shows its first wrong rows only, so a finding without a flag was not necessarily found right by a check
    that failed.
    """
    rows = []
    for result in results:
        for row in result.sample.iter_rows(named=True):
            if row.get("finding_id") is None and row.get("exam_id") is None:
                continue
            reason = row.get("reason") or ", ".join(
                f"{k} {v}" for k, v in row.items() if k not in ("finding_id", "exam_id")
            )
            rows.append(
                {
                    "finding_id": row.get("finding_id"),
                    "exam_id": None if row.get("finding_id") else row.get("exam_id"),
                    "check": result.name,
                    "severity": result.severity,
                    "reason": str(reason),
                }
            )
    return pl.DataFrame(rows, schema=dict.fromkeys(("finding_id", "exam_id", "check", "severity", "reason"), pl.String))


@dataclass(frozen=True, eq=False)
class GalleryTables:
    """Tables of a curation that its gallery shows.

    Args:
        localisations: as the table, or the view `lesions`, which lacks the near misses.
        findings: as the table or the view.
        readings: as the table or the view.
        exams: as the table or the view.
        flags: as `flags_of` returns them.
        reviews: as the table; findings that changed since they were judged are shown beside the sample, with the
            earlier answers.
        proposals: as the table; those that are to be reviewed, or were, are shown after the findings.
    """

    localisations: pl.DataFrame
    findings: pl.DataFrame
    readings: pl.DataFrame
    exams: pl.DataFrame
    flags: pl.DataFrame | None = None
    reviews: pl.DataFrame | None = None
    proposals: pl.DataFrame | None = None


def write_gallery(folder: Path, tables: GalleryTables, settings: GallerySettings) -> GallerySummary:
    """Writes the gallery of a curation to `folder` (`index.html`, `data.js`, `pictures/`, `exams/`) and returns what is
    in it.

    Pictures that did not change are kept; those of findings that left are removed. A picture that cannot be drawn is
    replaced by the reason.
    """
    everything = _rows(tables.localisations, tables.findings)
    earlier = to_review_again(tables.reviews) if tables.reviews is not None else {}
    chosen = {*_choose(everything, settings), *earlier}
    rows = everything.filter(pl.col("finding_id").is_in(list(chosen))).sort(
        "is_lesion", "region", "exam_id", "finding_id", descending=[True, False, False, False]
    )
    if "agreement" in rows.columns:
        # What the readers disagree on comes first; a finding that one reader alone read has no agreement.
        rows = rows.sort(pl.col("agreement").fill_null(1.0), maintain_order=True)
    proposed = rows.clear()
    if tables.proposals is not None:
        proposed = proposal_rows(tables.proposals, tables.exams, settings.n_proposals)
    rows = pl.concat([rows, proposed], how="diagonal_relaxed")
    pictures = folder / "pictures"
    pictures.mkdir(parents=True, exist_ok=True)
    drawn, reused, missing = draw_all(rows, tables.exams, pictures, settings.home)
    wanted = {f"{picture_name(r)}{s}.png" for r in rows.iter_rows(named=True) for s in ("", "-thumb")}
    removed = 0
    for path in pictures.glob("*.png"):
        if path.name not in wanted:
            path.unlink()
            removed += 1
    in_queue = everything.filter(pl.col("exam_id").is_in(rows["exam_id"].unique().to_list()))
    in_queue = pl.concat([in_queue, proposed], how="diagonal_relaxed")
    if not settings.review.exam_pages:
        in_queue = in_queue.clear()
    pages = write_exam_pages(folder, in_queue, tables.exams, settings.home, settings.review, settings.sources)
    entries = list(_entries(rows, tables, missing, earlier))
    for entry in entries:
        page = page_of(entry["exam"])
        entry["page"] = page if (folder / page).is_file() else None
    data = {
        "curation": settings.curation,
        "kinds": [asdict(kind) for kind in ANSWER_KINDS],
        "entries": entries,
    }
    atomic.write_bytes(
        folder / "data.js", f"const GALLERY = {json.dumps(data, ensure_ascii=True, separators=(',', ':'))};\n".encode()
    )
    # The page comes last: whoever opens it while it is made again sees the old data or the new.
    atomic.write_bytes(folder / "index.html", html_page.render(_TEMPLATE))
    n_lesions = int(rows["is_lesion"].sum())
    n_rejected = rows.height - n_lesions - proposed.height
    return GallerySummary(
        folder / "index.html", n_lesions, n_rejected, proposed.height, drawn, reused, removed, missing, pages
    )


def _rows(localisations: pl.DataFrame, findings: pl.DataFrame) -> pl.DataFrame:
    """One row a finding, with what the sample is drawn by."""
    return finding_rows(localisations, findings).with_columns(
        region=pl.col("region").fill_null("no region"),
        size=pl.col("mtv_ml").cast(pl.Float64).map_elements(size_class, return_dtype=pl.String, skip_nulls=False),
    )


def _choose(rows: pl.DataFrame, settings: GallerySettings) -> list[str]:
    """The lesions by region and size, the rejected findings by reason."""
    lesions, rejected = rows.filter("is_lesion"), rows.filter(~pl.col("is_lesion"))
    return [
        *draw_sample(lesions, ("region", "size"), settings.n_lesions, settings.seed),
        *draw_sample(rejected, ("outcome",), settings.n_rejected, settings.seed),
    ]


def marked_sentence(sentence: str, slice_number: int | None, suvmax: float | None) -> list[tuple[str, str]]:
    """The sentence in pieces (text, mark), the mark being "suv", "slice", "side" or empty; the texts join to the
    sentence.
    """
    marks: list[tuple[int, int, str]] = []
    for match in _NUMBER.finditer(sentence):
        value = float(match.group())
        if suvmax is not None and value == suvmax and not ("." not in match.group() and slice_number == value):
            marks.append((match.start(), match.end(), "suv"))
        elif slice_number is not None and value == slice_number and "." not in match.group():
            marks.append((match.start(), match.end(), "slice"))
    marks += [(m.start(), m.end(), "side") for m in _SIDE_WORDS.finditer(sentence)]
    pieces: list[tuple[str, str]] = []
    at = 0
    for start, end, mark in sorted(marks):
        if start > at:
            pieces.append((sentence[at:start], ""))
        pieces.append((sentence[start:end], mark))
        at = end
    if at < len(sentence):
        pieces.append((sentence[at:], ""))
    return pieces


def _entries(
    rows: pl.DataFrame,
    tables: GalleryTables,
    missing: Mapping[str, str],
    earlier: Mapping[str, Sequence[Mapping[str, str | None]]],
) -> Iterator[dict[str, Any]]:
    """What the page shows of each finding, as plain JSON values."""
    by_sentence: dict[str, list[dict[str, Any]]] = {}
    for reading in tables.readings.iter_rows(named=True):
        by_sentence.setdefault(reading["sentence_id"], []).append(reading)
    tracers = {e["exam_id"]: e.get("tracer") for e in tables.exams.iter_rows(named=True)}
    by_finding: dict[str, list[dict[str, str]]] = {}
    by_exam: dict[str, list[dict[str, str]]] = {}
    for flag in tables.flags.iter_rows(named=True) if tables.flags is not None else ():
        shown = {k: flag[k] for k in ("check", "severity", "reason")}
        target = by_finding if flag["finding_id"] else by_exam
        target.setdefault(flag["finding_id"] or flag["exam_id"], []).append(shown)
    for row in rows.iter_rows(named=True):
        finding_id, exam_id = row["finding_id"], row["exam_id"]
        is_proposal = subject_of(finding_id) is Subject.PROPOSAL
        has_picture = needs_picture(row) and finding_id not in missing
        yield {
            "id": finding_id,
            "of": subject_of(finding_id).value,
            "value": row.get("organ") if is_proposal else None,
            "seen": finding_fingerprint({c: row[c] for c in _PEAK} if is_proposal else row),
            "earlier": list(earlier.get(finding_id, ())),
            "exam": exam_id,
            "tracer": tracers.get(exam_id),
            "outcome": row["outcome"],
            "physiologic": bool(row.get("is_physiologic")),
            "explanation": row.get("explanation"),
            "region": row["region"],
            "size": row["size"] if row["is_lesion"] else None,
            "slice": row.get("slice"),
            "sentence": marked_sentence(row["sentence"] or "", row.get("slice"), row.get("suvmax_reported")),
            "picture": f"pictures/{picture_name(row)}" if has_picture else None,
            "no_picture": missing.get(finding_id),
            "measures": [[name, _plain(row[c]), unit] for name, c, unit in _MEASURES if row.get(c) is not None],
            "facts": [[name, str(row[c])] for name, c in _FACTS if row.get(c) is not None],
            "near": _near_misses(row),
            "votes": [_vote(r) for r in by_sentence.get(row.get("sentence_id") or "", [])],
            "flags": [*by_finding.get(finding_id, []), *by_exam.get(exam_id, [])],
        }


def _vote(reading: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "reader": reading["reader"],
        "slice": reading.get("slice"),
        "suvmax": _plain(reading.get("suvmax")),
        "lesions": reading.get("n_lesions"),
        "exam": reading.get("exam"),
        "role": reading.get("role"),
        "error": reading.get("error"),
    }


def _near_misses(row: Mapping[str, Any]) -> list[str]:
    """What came nearest, for a finding that is not in the image."""
    near = []
    if row.get("nearest_suvmax_on_slice") is not None:
        near.append(f"nearest maximum on slice {row['slice']}: SUV {row['nearest_suvmax_on_slice']:.1f}")
    if row.get("nearest_slice_with_suvmax") is not None:
        near.append(f"nearest slice with SUVmax {row['suvmax_reported']:.1f}: {row['nearest_slice_with_suvmax']}")
    return near


def _plain(value: Any) -> float | None:
    """A number as JSON takes it, rounded for reading; None for null and for what is not finite."""
    if value is None or not np.isfinite(value):
        return None
    return round(float(value), 3)
