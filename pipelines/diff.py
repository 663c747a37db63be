"""What changed from one version of a curation to another: lesions that came, went and changed, and why."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl

from pipelines.lake import ShardMeta, read_meta
from pipelines.outcomes import Outcome
from pipelines.versions import CURATED, makers_by_exam

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
"""Why a lesion differs, in the order in which they are looked for; the first that holds is told."""

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

_MEASURED = ("mtv_ml", "suvmax", "suvmean", "suvpeak", "tlg", "threshold_suv", "peak_x_mm", "peak_y_mm", "peak_z_mm")
_SAID = ("slice", "suvmax_reported", "region", "organ", "subsite", "laterality", "comparison", "text")


@dataclass(frozen=True)
class _State:
    """One version: its rows by id, and what made them."""

    exams: Mapping[str, Mapping[str, Any]]
    sentences: frozenset[str]
    findings: Mapping[str, Mapping[str, Any]]
    localisations: Mapping[str, Mapping[str, Any]]
    makers: Mapping[tuple[str, str], Mapping[str, Any]]
    by_exam: Mapping[str, tuple[tuple[Any, ...], ...]]
    """What each exam's findings say to the images."""


def curation_diff(before: Mapping[str, Sequence[Path]], now: Mapping[str, Sequence[Path]]) -> pl.DataFrame:
    """One row a lesion of either version that came, went or changed, with the reason, sorted by exam and finding.

    `before`, `now`: Parquet files by table, as `versions.frozen_files` gives them.
    """
    changed = _changed_shards(before, now)
    old, new = _state(before, changed), _state(now, changed)
    rows = []
    for finding_id in sorted({*old.localisations, *new.localisations, *old.findings, *new.findings}):
        a, b = old.localisations.get(finding_id), new.localisations.get(finding_id)
        was, is_ = _is_lesion(a), _is_lesion(b)
        if not was and not is_:
            continue
        fields = _differing(old, new, finding_id)
        if was and is_ and not fields:
            continue
        exam_id = str(((b or a) or {})["exam_id"])
        why, detail = _reason(old, new, finding_id, exam_id)
        one = b or a or {}
        rows.append(
            {
                "finding_id": finding_id,
                "exam_id": exam_id,
                "patient_id": one["patient_id"],
                "change": "changed" if was and is_ else "came" if is_ else "went",
                "why": why,
                "detail": detail + (f"; changed: {', '.join(fields)}" if was and is_ else ""),
                "outcome_before": _outcome(old, finding_id),
                "outcome_now": _outcome(new, finding_id),
                **{
                    f"{name}_{end}": row[name] if row else None
                    for name in ("mtv_ml", "suvmax")
                    for end, row in (("before", a), ("now", b))
                },
                "sentence": one["sentence"],
            }
        )
    return pl.DataFrame(rows, schema={name: kind for name, (kind, _) in COLUMNS.items()})


def _changed_shards(before: Mapping[str, Sequence[Path]], now: Mapping[str, Sequence[Path]]) -> set[str]:
    """Shards of which any curated table has other rows. An exam may move to another shard, so both are looked at."""

    def digests(files: Mapping[str, Sequence[Path]]) -> dict[tuple[str, str], str]:
        metas = [read_meta(path, table, path.stem) for table in CURATED for path in files.get(table, ())]
        return {(m.table, m.shard): m.rows_digest for m in metas if m.n_rows}

    a, b = digests(before), digests(now)
    return {shard for table, shard in {*a, *b} if a.get((table, shard)) != b.get((table, shard))}


def _state(files: Mapping[str, Sequence[Path]], shards: Iterable[str]) -> _State:
    wanted = set(shards)
    tables: dict[str, list[dict[str, Any]]] = {}
    metas: list[ShardMeta] = []
    for table in CURATED:
        own = [path for path in files.get(table, ()) if path.stem in wanted]
        metas += [read_meta(path, table, path.stem) for path in own]
        tables[table] = [row for path in own for row in pl.read_parquet(path, glob=False).iter_rows(named=True)]
    by_exam: dict[str, list[tuple[Any, ...]]] = {}
    for row in tables["findings"]:
        if row["outcome"] == Outcome.ACCEPTED:
            said = (row["finding_id"], row["slice"], row["suvmax_reported"], row["laterality"])
            by_exam.setdefault(row["exam_id"], []).append(said)
    return _State(
        {row["exam_id"]: row for row in tables["exams"]},
        frozenset(row["sentence_id"] for row in tables["sentences"]),
        {row["finding_id"]: row for row in tables["findings"]},
        {row["finding_id"]: row for row in tables["localisations"]},
        makers_by_exam(metas),
        {exam_id: tuple(sorted(said)) for exam_id, said in by_exam.items()},
    )


def _is_lesion(row: Mapping[str, Any] | None) -> bool:
    return row is not None and row["outcome"] == Outcome.LESION


def _outcome(state: _State, finding_id: str) -> str | None:
    row = state.localisations.get(finding_id) or state.findings.get(finding_id)
    return row["outcome"] if row else None


def _differing(old: _State, new: _State, finding_id: str) -> list[str]:
    found = []
    for names, part in ((_MEASURED, "localisations"), (_SAID, "findings")):
        a, b = getattr(old, part).get(finding_id), getattr(new, part).get(finding_id)
        if a and b:
            found += [name for name in names if a[name] != b[name]]
    return found


def _reason(old: _State, new: _State, finding_id: str, exam_id: str) -> tuple[str, str]:
    """(why, in words) a lesion differs."""
    was, now = old.exams.get(exam_id), new.exams.get(exam_id)
    if now is None:
        return "exam removed", f"exam {exam_id} left the cohort"
    if was is None:
        return "new exam", f"exam {exam_id} came"
    if was["image_fingerprint"] != now["image_fingerprint"]:
        return "images changed", f"the image files of exam {exam_id} are others"
    if was["status"] != now["status"]:
        return "exam problem", f"exam {exam_id}: {was['problem'] or 'ok'} -> {now['problem'] or 'ok'}"
    said_before, said_now = (state.findings.get(finding_id) for state in (old, new))
    corrected = [row["corrected"] if row else None for row in (said_before, said_now)]
    if corrected[0] != corrected[1]:
        return "correction", corrected[1] or f"taken back: {corrected[0]}"
    if (said_before is None) != (said_now is None):
        sentence = (said_now or said_before or {})["sentence_id"]
        if (sentence in old.sentences) != (sentence in new.sentences):
            return "report changed", f"its sentence {'came' if said_now else 'went'}"
    for why, told in (("readers", _readers), ("logic", _logic), ("parameters", _parameters)):
        if detail := _maker_change(old, new, exam_id, told, why):
            return why, detail
    if old.by_exam.get(exam_id) != new.by_exam.get(exam_id):
        return "neighbour", "another finding of the exam changed, and they compete for the same places"
    return "unknown", "nothing that it was made from differs"


def _maker_change(
    old: _State, new: _State, exam_id: str, told: Callable[[str, Mapping[str, Any], Mapping[str, Any]], str], why: str
) -> str:
    details = []
    for table in CURATED:
        a, b = old.makers.get((table, exam_id)), new.makers.get((table, exam_id))
        if a and b and a != b and (table == "readings") == (why == "readers"):
            details.append(told(table, a, b))
    return "; ".join(detail for detail in details if detail)


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
