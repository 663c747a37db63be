"""What changed from one version of a curation to another: lesions that came, went and changed, and why."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl

from pipelines.catalog.versions import provenance_by_exam
from pipelines.tables import schemas
from pipelines.tables.curation_version import CURATED
from pipelines.tables.lake import ShardMeta, read_meta
from pipelines.tables.outcomes import Outcome

REASONS = (
    "exam removed",
    "new exam",
    "images changed",
    "exam problem",
    "correction",
    "report changed",
    "readers",
    "logic",
    "parameters",
    "neighbour",
    "unknown",
)
"""Causes of a difference, in the order in which they are tested; the first that applies is reported."""

COLUMNS: Mapping[str, tuple[type[pl.DataType], str]] = {
    "finding_id": (pl.String, "Finding, in either version"),
    "exam_id": (pl.String, "Exam, as the cohort names it"),
    "patient_id": (pl.String, "Patient, as the cohort names it"),
    "change": (pl.String, "`came`, `went`, or `changed` where it is a lesion in both versions"),
    "why": (pl.String, f"The first reason that holds: {', '.join(REASONS)}"),
    "detail": (pl.String, "The reason in words, with the values before and now, and the columns that differ"),
    "outcome_before": (pl.String, "Outcome in the version before, null where it was not there"),
    "outcome_now": (pl.String, "Outcome now, null where it is not there"),
    "mtv_ml_before": (pl.Float64, "Metabolic tumour volume before [mL]"),
    "mtv_ml_now": (pl.Float64, "Metabolic tumour volume now [mL]"),
    "suvmax_before": (pl.Float64, "Measured SUVmax before [SUV]"),
    "suvmax_now": (pl.Float64, "Measured SUVmax now [SUV]"),
    "sentence": (pl.String, "The sentence of the report"),
}
"""Type and description of each column of a diff."""

_NOW = "_now"
"""What ends a column of the later version where both stand in one row."""
_MEASURED = ("mtv_ml", "suvmax", "suvmean", "suvpeak", "tlg", "threshold_suv", "peak_x_mm", "peak_y_mm", "peak_z_mm")
_SAID = ("slice", "suvmax_reported", "region", "organ", "subsite", "laterality", "comparison", "text")
_COMPARED: Mapping[str, tuple[str, ...]] = {
    "findings": ("finding_id", "exam_id", "sentence_id", "outcome", "corrected", *_SAID),
    "lesions": ("finding_id", "exam_id", "patient_id", "outcome", "sentence", *_MEASURED),
}
"""Columns that are compared, or told of rows that differ."""
_TO_IMAGES = ("finding_id", "slice", "suvmax_reported", "laterality")
_CAME_WITH_EXAM = "exam {} came"

_Files = Mapping[str, Sequence[Path]]
"""Parquet files by table."""


@dataclass(frozen=True)
class _State:
    """One version, as far as it tells of the findings that differ."""

    rows: pl.DataFrame
    """One row a finding or localisation: what the report and what the images say of it."""
    said: pl.DataFrame
    """exam_id and `said`: what all findings of the exam say to the images, as sorted hashes."""
    files: _Files
    """Of the shards that are compared."""


def curation_diff(before: _Files, now: _Files) -> pl.DataFrame:
    """One row a lesion of either version that came, went or changed, with the reason, sorted by exam and finding.

    `before`, `now`: Parquet files by table, as `versions.frozen_files` gives them. A million lesions take a second or
    two: columns are compared shard by shard, and only rows that differ are joined with what tells why.
    """
    changed = _changed_shards(before, now)
    old, new = _files_of(before, changed), _files_of(now, changed)
    return _compared(old, new) if any(old.values()) else _all_came(new["lesions"])


def _all_came(localisations: Sequence[Path]) -> pl.DataFrame:
    """The diff where nothing was there before: each lesion came with its exam, and there is nothing else to look at."""
    renamed = {"outcome": "outcome_now", "mtv_ml": "mtv_ml_now", "suvmax": "suvmax_now"}
    frame = _read("lesions", localisations, ("finding_id", "exam_id", "patient_id", "sentence", *renamed))
    found = frame.filter(_is_lesion("outcome")).rename(renamed)
    found = found.with_columns(
        change=pl.lit("came"), why=pl.lit("new exam"), detail=pl.format(_CAME_WITH_EXAM, "exam_id")
    )
    return found.select(
        (pl.col(name) if name in found.columns else pl.lit(None).alias(name)).cast(kind)
        for name, (kind, _) in COLUMNS.items()
    ).sort("finding_id")


def _compared(before: _Files, now: _Files) -> pl.DataFrame:
    """The diff of two versions, whatever they hold."""
    old, new = _states(before, now)
    both = old.rows.join(new.rows, on="finding_id", how="full", coalesce=True, suffix=_NOW)
    was, is_ = (_is_lesion(f"localised{end}") for end in ("", _NOW))
    found = both.with_columns(was=was, is_=is_, fields=_differing()).filter(
        (pl.col("was") != pl.col("is_")) | (pl.col("was") & (pl.col("fields") != ""))
    )
    shared = ("exam_id", "patient_id", "sentence", "sentence_id")
    found = found.with_columns(pl.coalesce(name + _NOW, name).alias(name) for name in shared)
    found = _with_evidence(found, old, new)
    why, detail = _reason()
    stayed = pl.col("was") & pl.col("is_")
    outcome = {"before": "", "now": _NOW}
    return (
        found.with_columns(
            change=pl.when(stayed).then(pl.lit("changed")).when("is_").then(pl.lit("came")).otherwise(pl.lit("went")),
            why=why,
            detail=pl.when(stayed).then(pl.format("{}; changed: {}", detail, "fields")).otherwise(detail),
            **{f"outcome_{name}": pl.coalesce(f"localised{end}", f"outcome{end}") for name, end in outcome.items()},
            **{f"{c}_{name}": pl.col(f"{c}{end}") for name, end in outcome.items() for c in ("mtv_ml", "suvmax")},
        )
        .select(pl.col(name).cast(kind) for name, (kind, _) in COLUMNS.items())
        .sort("finding_id")
    )


def _changed_shards(before: _Files, now: _Files) -> set[str]:
    """Shards of which any curated table has other rows. An exam may move to another shard, so both are looked at."""

    def digests(files: _Files) -> dict[tuple[str, str], str]:
        metas = [_meta(path) for table in CURATED for path in files.get(table, ())]
        return {(m.table, m.shard): m.rows_digest for m in metas if m.n_rows}

    a, b = digests(before), digests(now)
    return {shard for table, shard in {*a, *b} if a.get((table, shard)) != b.get((table, shard))}


def _files_of(files: _Files, shards: Collection[str]) -> dict[str, list[Path]]:
    return {table: [path for path in files.get(table, ()) if path.stem in shards] for table in CURATED}


def _read(table: str, paths: Sequence[Path], columns: Sequence[str]) -> pl.DataFrame:
    frame = pl.scan_parquet(list(paths), glob=False).select(columns).collect() if paths else schemas.empty(table)
    return frame.select(columns)


def _states(before: _Files, now: _Files) -> tuple[_State, _State]:
    """Both versions, with the findings that differ in a column that is compared.

    Rows that are equal are put aside shard by shard. Those of an exam that lies in another shard than before are in one
    version alone in either, so they stay.
    """
    versions = (before, now)
    rows: tuple[list[pl.DataFrame], ...] = ([], [])
    said: tuple[list[pl.DataFrame], ...] = ([], [])
    for shard in sorted({path.stem for files in versions for paths in files.values() for path in paths}):
        findings, localisations = (
            [_read(table, [p for p in files[table] if p.stem == shard], columns) for files in versions]
            for table, columns in _COMPARED.items()
        )
        ids = pl.concat([_differing_ids(*findings), _differing_ids(*localisations)]).unique()
        own = [
            _joined(*(frame.join(ids, on="finding_id", how="semi") for frame in pair))
            for pair in zip(findings, localisations, strict=True)
        ]
        exams = pl.concat(frame.select("exam_id") for frame in own).unique()
        for n in range(len(versions)):
            rows[n].append(own[n])
            said[n].append(_said(findings[n].join(exams, on="exam_id", how="semi")))
    old, new = (_State(pl.concat(rows[n]), pl.concat(said[n]), files) for n, files in enumerate(versions))
    return old, new


def _differing_ids(old: pl.DataFrame, new: pl.DataFrame) -> pl.DataFrame:
    """finding_id of the rows of a shard that differ, or that one version alone has."""
    names = [name for name in old.columns if name != "finding_id"]
    if old["finding_id"].equals(new["finding_id"]):
        # The usual case: files are sorted, so equal rows stand in equal places, and nothing need be joined.
        differs = pl.select(pl.any_horizontal(old[name].ne_missing(new[name]) for name in names))
        return old.filter(differs.to_series()).select("finding_id")
    both = old.with_columns(there=True).join(
        new.with_columns(there=True), on="finding_id", how="full", coalesce=True, suffix=_NOW
    )
    differing = (pl.col(name).ne_missing(pl.col(name + _NOW)) for name in ("there", *names))
    return both.filter(pl.any_horizontal(differing)).select("finding_id")


def _joined(findings: pl.DataFrame, localisations: pl.DataFrame) -> pl.DataFrame:
    located = localisations.rename({"outcome": "localised"})
    return findings.drop("exam_id").join(located, on="finding_id", how="full", coalesce=True)


def _said(findings: pl.DataFrame) -> pl.DataFrame:
    accepted = findings.filter(pl.col("outcome") == Outcome.ACCEPTED.value)
    return accepted.group_by("exam_id").agg(said=pl.struct(_TO_IMAGES).hash().sort())


def _is_lesion(column: str) -> pl.Expr:
    return (pl.col(column) == Outcome.LESION.value).fill_null(False)


def _differing() -> pl.Expr:
    """Names of the columns that differ between two versions of a row that both have, with commas."""
    parts = [(name, "localised") for name in _MEASURED] + [(name, "outcome") for name in _SAID]
    return pl.concat_str(
        (
            pl.when(
                pl.col(name).ne_missing(pl.col(name + _NOW))
                & pl.col(there).is_not_null()
                & pl.col(there + _NOW).is_not_null()
            ).then(pl.lit(name))
            for name, there in parts
        ),
        separator=", ",
        ignore_nulls=True,
    )


def _with_evidence(found: pl.DataFrame, old: _State, new: _State) -> pl.DataFrame:
    """The rows with what tells why they differ: their exam, sentence, makers and neighbours in both versions."""
    # Sentences are many, and they tell of findings that came or went alone.
    asked = found.filter(pl.col("outcome").is_null() != pl.col(f"outcome{_NOW}").is_null())
    for state, end in ((old, ""), (new, _NOW)):
        exams = _read("exams", state.files["exams"], ("exam_id", "image_fingerprint", "status", "problem"))
        exams = exams.with_columns(has_exam=pl.lit(True))
        exams = exams.rename({name: name + end for name in exams.columns if name != "exam_id"})
        sentences = _read("sentences", () if asked.is_empty() else state.files["sentences"], ("sentence_id",))
        sentences = sentences.join(asked, on="sentence_id", how="semi").unique()
        sentences = sentences.with_columns(pl.lit(True).alias(f"has_sentence{end}"))
        said = state.said.rename({"said": f"said{end}"})
        found = (
            found.join(exams, on="exam_id", how="left", maintain_order="left")
            .join(sentences, on="sentence_id", how="left", maintain_order="left")
            .join(said, on="exam_id", how="left", maintain_order="left")
        )
    return found.join(_maker_changes(found["exam_id"].unique(), old, new), on="exam_id", how="left")


def _reason() -> tuple[pl.Expr, pl.Expr]:
    """(why, in words) a lesion differs, of the columns that `_with_evidence` gives."""
    exam, now = pl.col("exam_id"), lambda name: pl.col(name + _NOW)
    finding_came = pl.col("outcome").is_null()
    ok = pl.lit("ok")
    reasons: list[tuple[pl.Expr, str, pl.Expr]] = [
        (
            now("has_exam").is_null() & pl.col("has_exam").is_not_null(),
            "exam removed",
            pl.format("exam {} left the cohort", exam),
        ),
        (pl.col("has_exam").is_null(), "new exam", pl.format(_CAME_WITH_EXAM, exam)),
        (
            pl.col("image_fingerprint").ne_missing(now("image_fingerprint")),
            "images changed",
            pl.format("the image files of exam {} are others", exam),
        ),
        (
            pl.col("status") != now("status"),
            "exam problem",
            pl.format("exam {}: {} -> {}", exam, pl.coalesce("problem", ok), pl.coalesce(now("problem"), ok)),
        ),
        (
            pl.col("corrected").ne_missing(now("corrected")),
            "correction",
            pl.coalesce(now("corrected"), pl.format("taken back: {}", "corrected")),
        ),
        (
            (finding_came != now("outcome").is_null()) & pl.col("has_sentence").ne_missing(now("has_sentence")),
            "report changed",
            pl.when(finding_came).then(pl.lit("its sentence came")).otherwise(pl.lit("its sentence went")),
        ),
        *((pl.col(why) != "", why, pl.col(why)) for why in _TOLD),
        (
            pl.col("said").ne_missing(now("said")),
            "neighbour",
            pl.lit("another finding of the exam changed, and they compete for the same places"),
        ),
    ]
    why, detail = pl.lit("unknown"), pl.lit("nothing that it was made from differs")
    for holds, name, words in reversed(reasons):
        why = pl.when(holds).then(pl.lit(name)).otherwise(why)
        detail = pl.when(holds).then(words).otherwise(detail)
    return why, detail


def _maker_changes(exam_ids: pl.Series, old: _State, new: _State) -> pl.DataFrame:
    """exam_id, and for each of `_TOLD` what changed of it in words, empty where nothing did."""
    wanted = set(exam_ids)
    a, b = (
        provenance_by_exam((_meta(p) for paths in state.files.values() for p in paths), wanted) for state in (old, new)
    )
    words: dict[tuple[str, int, int], dict[str, str]] = {}  # Of a pair of makers: they are few, exams are many.
    rows: list[dict[str, str]] = []
    for exam_id in wanted if a and b else ():
        changes = []
        for table in CURATED:
            made, makes = a.get((table, exam_id)), b.get((table, exam_id))
            if made is None or makes is None:
                continue
            pair = (table, id(made), id(makes))
            if pair not in words:
                words[pair] = _changes(table, made, makes)
            changes.append(words[pair])
        told = {why: "; ".join(said[why] for said in changes if said[why]) for why in _TOLD}
        rows.append({"exam_id": exam_id, **told})
    return pl.DataFrame(rows, schema=dict.fromkeys(("exam_id", *_TOLD), pl.String))


def _meta(path: Path) -> ShardMeta:
    return read_meta(path, path.parent.name, path.stem)


def _changes(table: str, a: Mapping[str, Any], b: Mapping[str, Any]) -> dict[str, str]:
    """For each of `_TOLD` what differs between two makers of a table's rows, in words; empty where nothing does."""
    return {
        why: told(table, a, b) if a != b and (table == "readings") == (why == "readers") else ""
        for why, told in _TOLD.items()
    }


def _readers(table: str, a: Mapping[str, Any], b: Mapping[str, Any]) -> str:
    return _named("readers", a["parameters"], b["parameters"])


def _logic(table: str, a: Mapping[str, Any], b: Mapping[str, Any]) -> str:
    return f"{table}: {a['logic']} -> {b['logic']}" if a["logic"] != b["logic"] else ""


def _parameters(table: str, a: Mapping[str, Any], b: Mapping[str, Any]) -> str:
    return _named(table, a["parameters"], b["parameters"])


def _named(where: str, a: Mapping[str, Any], b: Mapping[str, Any]) -> str:
    """The parameters that differ, each with both values."""
    old, new = _flat(a), _flat(b)
    return ", ".join(
        f"{where}.{name}: {old.get(name, 'none')} -> {new.get(name, 'none')}"
        for name in sorted({*old, *new})
        if old.get(name) != new.get(name)
    )


def _flat(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, value in values.items():
        if isinstance(value, Mapping):
            found |= _flat(value, f"{prefix}{name}.")
        else:
            found[f"{prefix}{name}"] = value
    return found


_TOLD = {"readers": _readers, "logic": _logic, "parameters": _parameters}
