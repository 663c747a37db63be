"""Which texts are rated, and the key that says later who wrote them."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import polars as pl

from model.inputs.numbers import mask_measured_numbers
from pipelines.settings import StudySettings
from pipelines.tables.errors import reason_of
from pipelines.tables.hashing import hash_of

REPORT = "report"
"""The author of a reference text."""
SIDES = ("A", "B")
KEY_NAME = "key.json"


class StudyError(ValueError):
    """A reader study that cannot be made or read; the message says what to do."""


@dataclass(frozen=True)
class Case:
    """One lesion with the texts that are rated, unmasked; `report` is null where there is no report."""

    case_id: str
    finding_id: str
    exam_id: str
    patient_id: str
    is_external: bool
    text: str
    report: str | None
    suv_path: str
    ct_path: str | None
    mask_path: str


@dataclass(frozen=True)
class Study:
    """All that is needed to read ratings later, whatever becomes of the predictions: the key."""

    study_id: str
    model: str
    readers: tuple[str, ...]
    seed: int
    cases: tuple[Case, ...]
    left_out: Mapping[str, int]
    """Why lesions are no case, and how many."""

    def order(self, reader: str) -> list[Case]:
        """The cases as one reader sees them: shuffled by a hash, another way for every reader."""
        return sorted(self.cases, key=lambda case: hash_of(self.seed, "order", reader, case.case_id))

    def authors(self, reader: str, case: Case) -> dict[str, str]:
        """Who wrote the texts A and B that a reader sees of a case; the model alone where there is no report."""
        if case.report is None:
            return {"A": self.model}
        first = int(hash_of(self.seed, "side", reader, case.case_id), 16) % 2
        names = (self.model, REPORT) if first == 0 else (REPORT, self.model)
        return dict(zip(SIDES, names, strict=True))

    def shown(self, reader: str, case: Case) -> dict[str, str]:
        """The texts A and B as a reader sees them, with `[#]` for every measured number."""
        words = {self.model: case.text, REPORT: case.report or ""}
        return {side: mask_measured_numbers(words[author]) for side, author in self.authors(reader, case).items()}


def make_study(
    predictions: pl.DataFrame, samples: pl.DataFrame, external: pl.DataFrame, settings: StudySettings, model: str
) -> Study:
    """The study of one model: held-out lesions with their reports, and lesions of the external set without.

    `predictions`, `samples`, `external` are the tables of these names. Cases are drawn by a hash of the lesion and the
    seed, so that the order of rows is without influence. A lesion without text or report is counted and left out.

    Raises:
        StudyError: no lesion can be rated, or no reader is named.
    """
    if not settings.readers or len(set(settings.readers)) < len(settings.readers):
        raise StudyError(f"expected readers with names of their own, got {settings.readers}: set [evaluation.study]")
    own = predictions.filter(pl.col("model") == model, pl.col("split") == settings.split)
    own = own.join(samples.select("finding_id", "suv_path", "ct_path", "mask_path"), on="finding_id")
    rows = own.with_columns(text=pl.coalesce("text_measured", "text"), is_external=pl.lit(False)).to_dicts()
    outside = external.filter(pl.col("model") == model).with_columns(
        finding_id="lesion_id",
        text=pl.coalesce("text_measured", "text"),
        reference=pl.lit(None, pl.String),
        is_external=pl.lit(True),
    )
    left_out: dict[str, int] = {}
    kept: dict[bool, list[dict[str, Any]]] = {False: [], True: []}
    for row in [*rows, *outside.to_dicts()]:
        reason = _why_not(row)
        if reason is None:
            kept[row["is_external"]].append(row)
        else:
            left_out[reason] = left_out.get(reason, 0) + 1
    chosen = [
        *_draw(kept[False], settings.n_cases, settings.seed),
        *_draw(kept[True], settings.n_external, settings.seed),
    ]
    if not chosen:
        raise StudyError(
            f"expected texts of {model} on the split {settings.split}, got none ({left_out or 'no prediction'}): "
            "materialise predictions, or name another model or split in [evaluation.study]"
        )
    identity = hash_of(
        settings.seed, settings.readers, model, [(r["finding_id"], r["text"], r["reference"]) for r in chosen]
    )
    cases = tuple(
        Case(
            # A code that says nothing of the lesion, and that no one can turn back without the seed.
            f"case-{hash_of(settings.seed, identity, row['finding_id'])[:8]}",
            *(row[name] for name in ("finding_id", "exam_id", "patient_id", "is_external", "text", "reference")),
            *(row[name] for name in ("suv_path", "ct_path", "mask_path")),
        )
        for row in chosen
    )
    return Study(identity[:12], model, settings.readers, settings.seed, cases, left_out)


def _why_not(row: Mapping[str, Any]) -> str | None:
    if not (row["text"] or "").strip():
        return "without a text of the model"
    if not row["is_external"] and not (row["reference"] or "").strip():
        return "without a report"
    return None


def _draw(rows: Sequence[dict[str, Any]], n: int, seed: int) -> list[dict[str, Any]]:
    return sorted(rows, key=lambda row: hash_of(seed, "draw", row["finding_id"]))[:n]


def key_text(study: Study) -> str:
    """The key as JSON."""
    return json.dumps(asdict(study), indent=1, ensure_ascii=False)


def read_key(folder: Path) -> Study:
    """The study whose key lies in a folder.

    Raises:
        StudyError: there is no key, or it is no key.
    """
    path = folder / KEY_NAME
    try:
        stored = json.loads(path.read_text())
        cases = tuple(Case(**case) for case in stored.pop("cases"))
        return Study(**{**stored, "cases": cases, "readers": tuple(stored["readers"])})
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise StudyError(
            f"expected the key of a reader study at {path}, got {reason_of(error)}: make the study again"
        ) from error
