"""The dataset card: content and methods of a curation."""

from dataclasses import dataclass
from pathlib import Path

import polars as pl

from pipelines.catalog.build import run_query
from pipelines.catalog.versions import read_accepted, read_history, running_code
from pipelines.dataset.splits import split_of
from pipelines.settings import CurationSettings, SplitSettings
from pipelines.tables import atomic
from pipelines.tables.curation_version import curation_version
from pipelines.tables.hashing import hash_of
from pipelines.tables.home import Home

BIASES = (
    "Only findings with an SUVmax, and with a slice or a place, can become lesions: faint, diffuse and unmeasured "
    "disease is missing.",
    "A mask is a metabolic contour grown from the reported peak, not a tumour volume drawn by a physician.",
    "Lesions under SUV 2.5 are left out, as are sentences that name several lesions without a slice and an SUVmax of "
    "each.",
    "Physiologic uptake that a report measures (bladder, kidney, heart) is a row with `is_physiologic`; it is counted "
    "apart, no sample of the training, and no lesion of the segmentation labels.",
    "Measures depend on scanner, reconstruction and uptake time; `exams` holds what is known of them.",
)


@dataclass(frozen=True)
class DatasetCard:
    """The card as Markdown, where it lies, its version, and the attrition it shows (what, reason, n)."""

    text: str
    path: Path
    version: str
    funnel: pl.DataFrame


def write_card(home: Home, settings: CurationSettings, splits: SplitSettings = SplitSettings()) -> DatasetCard:
    """The card of the curation in a home, written to `dataset_card.md` there."""
    funnel = run_query(home, "funnel")
    sections = [
        "# Dataset card",
        "Lesion masks with the sentences that describe them, curated from PET/CT exams and their reports.",
        "## From exams to lesions",
        markdown_table(funnel),
        "## Lesions by tracer",
        markdown_table(run_query(home, "lesions_by_tracer")),
        "## Lesions by region",
        markdown_table(run_query(home, "lesions_by_region")),
        "## Lesions by organ",
        markdown_table(run_query(home, "lesions_by_organ")),
        "## Splits",
        "By a hash of the patient, so that no patient is in two and none moves when the cohort grows.",
        markdown_table(split_table(run_query(home, "patients"), splits)),
        "## Privacy",
        "Identifiers that were found in report texts, counted; masked ones are in no table.",
        markdown_table(run_query(home, "identifiers").drop("example")),
        "## Versions",
        *_versions(home),
        "## Method",
        f"- Slices in reports: counted from the {settings.lesions.convention.origin.value}, first slice "
        f"{settings.lesions.convention.base}.\n"
        f"- Contour: `{settings.lesions.contour.method}`; located at a posterior of "
        f"{settings.lesions.location.least_posterior} or more.\n"
        f"- Parameters: `{hash_of(settings)}` (hash of all settings).",
        "## Known biases",
        "\n".join(f"- {bias}" for bias in BIASES),
    ]
    text = "\n\n".join(sections) + "\n"
    path = home.root / "dataset_card.md"
    atomic.write_bytes(path, text.encode())
    return DatasetCard(text, path, hash_of(text), funnel)


def split_table(patients: pl.DataFrame, settings: SplitSettings) -> pl.DataFrame:
    """split, n_patients, n_exams, n_lesions: the patients of a curation (patient_id, n_exams, n_lesions) by split."""
    names = [split_of(patient_id, settings) for patient_id in patients["patient_id"]]
    counted = patients.with_columns(split=pl.Series(names, dtype=pl.Enum(["train", "val", "test"])))
    columns = [pl.len().alias("n_patients"), pl.col("n_exams").sum(), pl.col("n_lesions").sum()]
    return counted.group_by("split").agg(columns).sort("split").with_columns(pl.col("split").cast(pl.String))


def _versions(home: Home) -> list[str]:
    """What of the code and of the data this is, a line each."""
    history, accepted = read_history(home), read_accepted(home).values()
    lines = [f"- Curation: `{curation_version(home)}` (hash of all curated rows)."]
    if history:
        names = [one.name for one in accepted if one.version == history[-1]]
        lines.append(f"- Catalog: `{history[-1]}`" + (f", accepted as {', '.join(names)}." if names else "."))
    code = {name: value for name, value in running_code().items() if value}
    lines.append(f"- Code: {', '.join(f'{name} `{value}`' for name, value in code.items())}.")
    return ["\n".join(lines)]


def markdown_table(frame: pl.DataFrame) -> str:
    """A frame as a Markdown table; nulls are left blank, numbers rounded to two decimals."""
    if frame.is_empty():
        return "(none)"

    def cell(value: object) -> str:
        if value is None:
            return ""
        text = f"{value:.2f}" if isinstance(value, float) else str(value)
        return text.replace("|", "\\|").replace("\n", " ")

    lines = ["| " + " | ".join(frame.columns) + " |", "|" + " --- |" * frame.width]
    lines += ["| " + " | ".join(cell(v) for v in row) + " |" for row in frame.iter_rows()]
    return "\n".join(lines)
