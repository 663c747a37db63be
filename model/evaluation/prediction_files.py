"""Predictions of any model, read from files: CSV, Parquet or JSON lines with a lesion and a text a row.

Every row is either taken or reported: a lesion that is not held out, two texts for one lesion, a lesion without a text.
Files are never changed.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl

from model.inputs.numbers import measured_of, put_in_measured
from pipelines.tables import schemas
from pipelines.tables.errors import first_line

SUFFIXES = (".csv", ".parquet", ".jsonl")
_LESION, _TEXT, _MODEL, _ERROR = "finding_id", "text", "model", "error"


@dataclass(frozen=True)
class PredictionFile:
    """Rows of `predictions` that a file gives, one a held-out lesion and model, and what was wrong with it."""

    frame: pl.DataFrame
    problems: tuple[str, ...]


def prediction_files(folder: Path) -> list[Path]:
    """The files of predictions in a folder, sorted; none where there is no folder."""
    return sorted(p for p in folder.glob("*") if p.suffix in SUFFIXES) if folder.is_dir() else []


def read_predictions(path: Path, held_out: pl.DataFrame) -> PredictionFile:
    """The texts of a file for held-out findings (rows of `samples`).

    Columns: finding_id and text; model (the file's name where it is not there), error (why there is no text). A lesion
    that the file does not name, names twice with different texts, or gives no text for has a row without text that says
    so; a lesion that is not held out is a problem. A file that cannot be read at all gives no row and a problem.
    """
    try:
        raw = _read(path)
    except (pl.exceptions.PolarsError, OSError, UnicodeDecodeError, ValueError) as error:
        return PredictionFile(
            schemas.empty("predictions"),
            (f"{path.name}: expected a table of predictions, it cannot be read ({first_line(error)}): write it again",),
        )
    missing = [c for c in (_LESION, _TEXT) if c not in raw.columns]
    if missing:
        return PredictionFile(
            schemas.empty("predictions"),
            (
                f"{path.name}: expected the columns {_LESION} and {_TEXT} (optional {_MODEL}, {_ERROR}), got "
                f"{', '.join(raw.columns) or 'none'}: add {', '.join(missing)}",
            ),
        )
    named = raw.select(
        _words(_LESION).alias(_LESION),
        _words(_TEXT).alias(_TEXT),
        (_words(_MODEL) if _MODEL in raw.columns else pl.lit(None, pl.String)).fill_null(path.stem).alias(_MODEL),
        (_words(_ERROR) if _ERROR in raw.columns else pl.lit(None, pl.String)).alias(_ERROR),
    ).with_row_index("line", offset=2)
    problems = _strangers(path, named, held_out)
    rows: list[dict[str, Any]] = []
    for (model,), answers in named.group_by(_MODEL, maintain_order=True):
        texts: dict[str, list[tuple[int, str | None, str | None]]] = {}
        for line, lesion, text, _, reason in answers.iter_rows():
            if lesion is not None:
                texts.setdefault(lesion, []).append((line, text, reason))
        before = len(rows)
        for sample in held_out.iter_rows(named=True):
            text, reason = _one(path, texts.get(sample["finding_id"], []))
            rows.append(
                {name: sample[name] for name in ("finding_id", "exam_id", "patient_id", "split")}
                | {
                    "model": model,
                    "text": text,
                    "reference": sample["target"],
                    "checkpoint": path.name,
                    "error": reason,
                }
                | {"text_measured": None if text is None else put_in_measured(text, measured_of(sample))}
            )
        reasons = Counter(row["error"].split(":")[0] for row in rows[before:] if row["error"])
        problems += [f"{path.name}, {model}: {n} of {held_out.height} lesions: {what}" for what, n in reasons.items()]
    return PredictionFile(schemas.frame("predictions", rows), tuple(problems))


def _read(path: Path) -> pl.DataFrame:
    if path.suffix == ".parquet":
        return pl.read_parquet(path, glob=False)
    if path.suffix == ".jsonl":
        return pl.read_ndjson(path, infer_schema_length=None)
    return pl.read_csv(path, infer_schema=False, encoding="utf8")


def _words(column: str) -> pl.Expr:
    words = pl.col(column).cast(pl.String).str.strip_chars()
    return pl.when(words != "").then(words)


def _strangers(path: Path, named: pl.DataFrame, held_out: pl.DataFrame) -> list[str]:
    """What a file says of lesions that are not asked for."""
    problems = []
    nameless = named.filter(pl.col(_LESION).is_null())["line"].to_list()
    if nameless:
        problems.append(f"{path.name}: {len(nameless)} rows without a {_LESION} (line {nameless[0]}): left out")
    strange = named.filter(~pl.col(_LESION).is_in(held_out["finding_id"].to_list()))
    if not strange.is_empty():
        some = ", ".join(f"{lesion} (line {line})" for line, lesion in strange.select("line", _LESION).head(3).rows())
        problems.append(
            f"{path.name}: {strange.height} rows of lesions that are not held out here ({some}): left out; expected "
            f"the finding_id of samples of the splits {', '.join(sorted(held_out['split'].unique()))}"
        )
    return problems


def _one(path: Path, answers: Sequence[tuple[int, str | None, str | None]]) -> tuple[str | None, str | None]:
    """(text, why there is none) of what a file says of one lesion."""
    if not answers:
        return None, f"no prediction: {path.name} does not name the lesion"
    distinct = {(text, error) for _, text, error in answers}
    if len(distinct) > 1:
        lines = ", ".join(str(line) for line, _, _ in answers)
        return None, f"two predictions: {path.name}, lines {lines}, differ; delete all but one"
    text, error = distinct.pop()
    if text is None:
        return None, error or f"empty prediction: {path.name}, line {answers[0][0]}"
    return text, None
