"""Lesions as questions with answers: the structured fields of each finding written as one text."""

import re
from collections.abc import Mapping
from typing import Any

import polars as pl

from pipelines.dataset.splits import split_of_exam
from pipelines.reports.structure import structure_of_place
from pipelines.settings import SampleSettings
from pipelines.tables import schemas

NUMBER_TOKEN = "[#]"

_FIELDS = (
    ("Region", "region"),
    ("Organ", "organ"),
    ("Sub-site", "subsite"),
    ("Laterality", "laterality"),
    ("SUVmax", "suvmax"),
    ("Slice", "slice"),
    ("Comparison", "comparison"),
    ("Findings", "findings"),
)
_LABELS = re.compile(rf"(?:^|(?<=\s))({'|'.join(label for label, _ in _FIELDS)}):\s*", re.IGNORECASE)
_BY_LABEL = {label.lower(): name for label, name in _FIELDS}
# Numbers that measure: after SUV and slice words, before units of size. Those that name anatomy (L5, segment 7) stay.
_MEASURED = re.compile(
    r"(?P<before>\bSUV\W?(?:max|mean|peak|bw)?\b[^\d.;]{0,20}|\b(?:slices?|images?)\W{0,3})\d+(?:\.\d+)?"
    r"|\d+(?:\.\d+)?(?=\s*(?:x\s*\d+(?:\.\d+)?\s*)*(?:mm|cm|mL|cc)\b)",
    re.IGNORECASE,
)


def compose(fields: Mapping[str, Any]) -> str:
    """A finding's fields as text: "Region: chest. Organ: lung. ... Findings: ..."; fields that are null are left out.

    Keys: region, organ, subsite, laterality, suvmax (SUV), slice, comparison, findings. "none" is no comparison.
    `parse` is the inverse.
    """
    parts = []
    for label, name in _FIELDS:
        value = fields.get(name)
        if value is None or value == "" or (name == "comparison" and value == "none"):
            continue
        words = f"{value:.1f}" if isinstance(value, float) else str(value).strip()
        parts.append(f"{label}: {words}" if words.endswith((".", "!", "?")) else f"{label}: {words}.")
    return " ".join(parts)


def parse(text: str) -> dict[str, str]:
    """Fields of a text that `compose` wrote, or that a model wrote in its manner; a field that it lacks is not a key.

    Everything after "Findings:" is the findings, whatever labels it holds. The first of a repeated field counts.
    """
    fields: dict[str, str] = {}
    matches = list(_LABELS.finditer(text))
    ends = [match.start() for match in matches[1:]] + [len(text)]
    for match, end in zip(matches, ends, strict=False):
        name = _BY_LABEL[match[1].lower()]
        if name == "findings":
            fields.setdefault(name, text[match.end() :].strip())
            break
        value = text[match.end() : end].strip().removesuffix(".").strip()
        if value:
            fields.setdefault(name, value)
    return fields


def mask_numbers(text: str) -> str:
    """The text with `[#]` for every SUV, slice and size."""
    return _MEASURED.sub(lambda match: (match["before"] or "") + NUMBER_TOKEN, text)


def finding_samples(
    lesions: pl.DataFrame, findings: pl.DataFrame, exams: pl.DataFrame, settings: SampleSettings = SampleSettings()
) -> pl.DataFrame:
    """A row of `samples` for every lesion whose finding and exam are known, sorted by finding; physiologic uptake is no
    lesion.

    `lesions` are rows of `lesions` (those that are no lesion are passed over), `findings` and `exams` those of
    the tables of these names. The answer carries the reported SUVmax and slice, the column `suvmax` the measured one;
    of a given mask whose text names them not it carries the measured ones. Lesions without a text give none.
    """
    rows = _joined(lesions, findings, exams, _has_text()).iter_rows(named=True)
    return schemas.frame("samples", [_sample(row, settings) for row in rows])


def untexted_samples(
    lesions: pl.DataFrame, findings: pl.DataFrame, exams: pl.DataFrame, settings: SampleSettings = SampleSettings()
) -> pl.DataFrame:
    """The same of the lesions that nobody described (given masks without a text), with an empty answer: a model is
    asked about them, and neither trained on them nor scored."""
    rows = _joined(lesions, findings, exams, ~_has_text()).iter_rows(named=True)
    return schemas.frame("samples", [{**_sample(row, settings), "target": ""} for row in rows])


def _joined(lesions: pl.DataFrame, findings: pl.DataFrame, exams: pl.DataFrame, which: pl.Expr) -> pl.DataFrame:
    """Lesions with their findings and exams, sorted; `which`: what counts of the findings."""
    return (
        lesions.filter(pl.col("outcome") == "lesion" if "outcome" in lesions.columns else pl.lit(True))
        .select(
            "finding_id",
            "exam_id",
            "patient_id",
            "mask_path",
            "suvmax",
            "peak_k",
            "slice",
            "suvmax_reported",
            "sentence",
        )
        .join(
            findings.filter(~pl.col("is_physiologic").fill_null(False), which).select(
                "finding_id", "region", "organ", "subsite", "laterality", "comparison", "text", "mask_source"
            ),
            on="finding_id",
        )
        .join(
            exams.filter(pl.col("status") == "ok").select("exam_id", "suv_path", "ct_path", "split", "n_slices"),
            on="exam_id",
        )
        .sort("finding_id")
    )


def proposal_samples(
    proposals: pl.DataFrame, exams: pl.DataFrame, settings: SampleSettings = SampleSettings()
) -> pl.DataFrame:
    """A row of `samples` for every proposal that a reviewer accepted, of patients in the split train alone: nothing is
    evaluated with what a model proposed. The answer is composed of its place and measures, for nobody wrote of it.

    Args:
        proposals: as the table.
        exams: as the table.
        settings: question, splits, masked numbers.
    """
    reviewed = proposals.filter(pl.col("is_accepted") & pl.col("answer").is_not_null())
    joined = reviewed.join(exams.select("exam_id", "suv_path", "ct_path", "split"), on="exam_id").sort("candidate_id")
    rows = []
    for row in joined.iter_rows(named=True):
        if split_of_exam(row, settings) != "train":
            continue
        place = structure_of_place(row["organ"], row["side"])
        where = " ".join(filter(None, (row["side"], place.organ or place.region)))
        said = f"Focal uptake{f' in the {where}' if where else ''} with an SUVmax of {row['suvmax']:.1f} on slice "
        fields = {"region": place.region, "organ": place.organ, "subsite": place.subsite, "laterality": row["side"]}
        lesion = {**row, **fields, "finding_id": row["candidate_id"], "comparison": "none", "mask_source": "grown"}
        lesion |= {"suvmax_reported": row["suvmax"], "text": f"{said}{row['slice']}."}
        rows.append(_sample(lesion, settings) | {"kind": "proposal", "finding_id": None})
    return schemas.frame("samples", rows)


def _has_text() -> pl.Expr:
    """Whether somebody said something of a finding; a sentence that was composed of its measures answers nothing."""
    return pl.col("text_source").fill_null("report") != "composed"


def _sample(row: Mapping[str, Any], settings: SampleSettings) -> dict[str, Any]:
    row = _with_numbers(row)
    fields = {name: row[name] for name in ("region", "organ", "subsite", "laterality", "comparison")}
    values = {"suvmax": row["suvmax_reported"], "slice": row["slice"], "findings": row["text"] or row["sentence"]}
    if settings.mask_numbers:
        values = {
            "suvmax": NUMBER_TOKEN,
            "slice": NUMBER_TOKEN,
            "findings": mask_numbers(values["findings"]) if values["findings"] else None,
        }
    return fields | {
        "sample_id": row["finding_id"],
        "kind": "finding",
        "finding_id": row["finding_id"],
        "exam_id": row["exam_id"],
        "patient_id": row["patient_id"],
        "split": split_of_exam(row, settings),
        "question": settings.question,
        "target": compose(fields | values),
        "suv_path": row["suv_path"],
        "ct_path": row["ct_path"],
        "mask_path": row["mask_path"],
        "mask_label": 1,
        "suvmax": row["suvmax"],
        "slice": row["slice"],
    }


def _with_numbers(row: Mapping[str, Any]) -> dict[str, Any]:
    """The row with the numbers that its answer carries; the slice counts from the head, from 1."""
    if row["mask_source"] in (None, "grown"):
        return dict(row)
    measured = {"suvmax_reported": row["suvmax"], "slice": row["n_slices"] - row["peak_k"]}
    return {**row, **{name: value for name, value in measured.items() if row[name] is None}}
