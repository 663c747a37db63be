"""The dataset card of a release (README.md), with the front matter that the package datasets reads."""

import json
from collections.abc import Collection, Mapping
from typing import Any

import polars as pl

from pipelines.release.contents import Contents
from pipelines.release.parquet_files import FILE_SPLITS, IMAGES
from pipelines.review.dataset_card import BIASES, markdown_table

_OF_GIVEN = (
    "Given masks are as their data set drew them: by other people, with other rules, perhaps whole patients at a time; "
    "`mask_source` tells them from grown ones.",
    "Texts of `text_source` = `model` were written by a model, those of `composed` say what was measured on the mask: "
    "neither is a description by a person.",
)
_OF_RELEASES = (
    "An exam's label map holds the lesions of this release alone: what no report measured is background in it.",
    "Ids are keyed hashes, dates are moved by a number of days that is the patient's own. A face can be drawn from a "
    "CT or PET of the head: do not try to identify anybody.",
)
_EVIDENCE: Mapping[str, str] = {
    "slice+SUV": "reported slice and SUVmax",
    "SUV+organ": "reported SUVmax and organ",
    "SUV+zone": "reported SUVmax and part of the body",
    "SUV": "reported SUVmax alone",
    "review": "a peak that a reviewer picked",
    "given mask": "a mask that came with the exam",
}


def card_of(
    contents: Contents,
    about: Mapping[str, str],
    versions: Mapping[str, Any],
    license_name: str,
    formats: Collection[str],
) -> str:
    """The card as Markdown.

    Args:
        contents: what is released.
        about: name, description (see `croissant_of`).
        versions: what made it, name -> value.
        license_name: as the Hub names it; empty: `other`.
        formats: that the release has.
    """
    lesions = contents.lesions()
    exams = pl.DataFrame([dict(exam.row) for exam in contents.exams], infer_schema_length=None)
    sections = [
        _front_matter(contents, about["name"], license_name, "parquet" in formats),
        f"# {about['name']}",
        about["description"],
        "## Files",
        _files(formats),
        "## Splits",
        "A patient is in one split: that of its data set where it came with one, else by a hash of the patient.",
        markdown_table(_by_split(exams, lesions)),
        f"Exams without a lesion that could be located, left out: {contents.n_without_lesions}.",
        "## Evidence",
        "What each lesion's place rests on, where its mask and its text come from.",
        markdown_table(_evidence(lesions)),
        "## Tracers",
        markdown_table(
            exams.group_by("tracer").agg(n_exams=pl.len()).sort("n_exams", "tracer", descending=[True, False])
        ),
        "## Regions",
        markdown_table(
            lesions.group_by("region").agg(n_lesions=pl.len()).sort("n_lesions", "region", descending=[True, False])
        ),
        "## Provenance",
        "\n".join(f"- {name}: `{value}`" for name, value in versions.items() if value),
        "## Known biases",
        "\n".join(f"- {bias}" for bias in _biases(lesions)),
    ]
    return "\n\n".join(sections) + "\n"


def _biases(lesions: pl.DataFrame) -> list[str]:
    given = lesions.filter(pl.col("mask_source") != "grown").height
    own = BIASES if given < lesions.height else BIASES[-1:]
    return [*own, *(_OF_GIVEN if given else ()), *_OF_RELEASES]


def _front_matter(contents: Contents, name: str, license_name: str, has_rows: bool) -> str:
    splits = [split for split in FILE_SPLITS if any(exam.split == split for exam in contents.exams)]
    lines = [
        "---",
        f"pretty_name: {json.dumps(name, ensure_ascii=False)}",
        f"license: {json.dumps(license_name or 'other')}",
        "task_categories: [image-segmentation, image-to-text]",
        "tags: [medical, PET, CT, lesions, NIfTI]",
        *(["configs:"] if has_rows else []),
    ]
    for kind in reversed(IMAGES) if has_rows else ():
        lines += [f"- config_name: {kind}", *(["  default: true"] if kind == "lesions" else []), "  data_files:"]
        for split in splits:
            named = FILE_SPLITS[split]
            lines += [f"  - split: {named}", f"    path: data/{kind}/{named}-*.parquet"]
    return "\n".join([*lines, "---"])


_FILES: Mapping[str, tuple[str, ...]] = {
    "parquet": (
        "- `data/lesions/*.parquet`: a row a lesion: its text, fields, measures, and its mask (NIfTI, cropped to",
        "  its box, affine in place).",
        "- `data/exams/*.parquet`: a row an exam: PET in SUV, CT in HU on the PET's grid (null where there is",
        "  none), and a label map, in which lesion `n` of the exam is `n`. All images are RAS+.",
    ),
    "webdataset": ("- `webdataset/`: the exams as tar shards, a sample an exam; those without a CT in `pet/`.",),
    "nnunet": ("- `nnunet/`: raw data set of nnU-Net: CT, PET and one label for all lesions but physiologic uptake.",),
    "delta": ("- `delta/`: the rows of lesions and exams as Delta tables, without images.",),
}


def _files(formats: Collection[str]) -> str:
    lines = [line for name, own in _FILES.items() if name in formats for line in own]
    last = "- `croissant.json`: these files described; `SHA256SUMS`: their checksums (`petar verify`, `sha256sum -c`)."
    return "\n".join([*lines, last])


def _by_split(exams: pl.DataFrame, lesions: pl.DataFrame) -> pl.DataFrame:
    counted = exams.group_by("split").agg(n_patients=pl.col("patient_id").n_unique(), n_exams=pl.len())
    of_lesions = lesions.group_by("split").agg(
        n_lesions=pl.len(), physiologic=pl.col("is_physiologic").fill_null(False).sum()
    )
    order = pl.col("split").replace_strict(list(FILE_SPLITS), [0, 1, 2], return_dtype=pl.Int64)
    return counted.join(of_lesions, on="split").sort(order)


def _evidence(lesions: pl.DataFrame) -> pl.DataFrame:
    keys = ["evidence", "mask_source", "text_source"]
    counted = lesions.group_by(keys).agg(n_lesions=pl.len()).sort("n_lesions", *keys, descending=[True, *[False] * 3])
    meaning = pl.col("evidence").replace_strict(_EVIDENCE, default=None, return_dtype=pl.String)
    return counted.select("evidence", meaning.alias("meaning"), "mask_source", "text_source", "n_lesions")
