"""The table `samples`: what is asked about which mask, with its answer; lesions and organs together. No torch."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from model.inputs.anatomy_questions import anatomy_samples
from pipelines.catalog.versions import VersionError
from pipelines.dataset.samples import finding_samples, proposal_samples
from pipelines.imaging.organ_labels import ORGAN_MAP_NAME
from pipelines.settings import SampleSettings
from pipelines.tables.curation_version import curation_version
from pipelines.tables.hashing import hash_of
from pipelines.tables.home import Home
from pipelines.tables.lake import Lake
from pipelines.tables.provenance import code_version


@dataclass(frozen=True)
class SamplesReport:
    """The samples, their version, how many were made anew, and what was wrong with exams that gave none."""

    frame: pl.DataFrame
    version: str
    recomputed: int
    reused: int
    problems: Mapping[str, str]


def build_samples(home: Home, label_maps: Mapping[str, str], settings: SampleSettings) -> SamplesReport:
    """The samples of what is curated now and of accepted proposals, written to the lake; made anew only where something
    below them changed.

    `label_maps`: exam id -> label map of organs, as a path under PETAR_HOME.
    """
    lake = Lake(home.lake)
    proposals = lake.read_table("proposals")
    made_from = {
        "curation": curation_version(home),
        "label_maps": hash_of(label_maps, [_state(home.file(p)) for p in label_maps.values()]),
        "logic": hash_of(code_version(__name__), settings),
        "proposals": hash_of(proposals.filter("is_accepted").to_dicts()),
    }
    meta = lake.shard_meta("samples")
    if meta is not None and meta.inputs.get("made_from") == made_from:
        return SamplesReport(
            lake.read_table("samples"), meta.rows_digest, 0, meta.n_rows, meta.inputs.get("problems", {})
        )
    exams, findings, localisations = (lake.read_table(name) for name in ("exams", "findings", "lesions"))
    if curation_version(home) != made_from["curation"]:
        raise VersionError("expected one curation while samples are made of it, it changed meanwhile: make them again")
    lesions = localisations.filter(pl.col("outcome") == "lesion")
    organs, problems = anatomy_samples(
        exams, {exam: home.file(path) for exam, path in label_maps.items()}, home, splits=settings
    )
    if settings.anatomy_per_exam:
        order = pl.col("sample_id").map_elements(lambda sample_id: hash_of(sample_id), return_dtype=pl.String)
        organs = organs.filter(order.rank().over("exam_id") <= settings.anatomy_per_exam)
    # Paths in the lake are relative to the home, so that it can be moved.
    organs = organs.with_columns(pl.col("mask_path").str.strip_prefix(f"{home.root}/"))
    accepted = proposal_samples(proposals, exams, settings)
    frame = pl.concat([finding_samples(lesions, findings, exams, settings), accepted, organs])
    inputs = {"made_from": made_from, "problems": problems, "curation": made_from["curation"]}
    written = lake.write_table("samples", frame, inputs)
    return SamplesReport(lake.read_table("samples"), written.rows_digest, written.n_rows, 0, problems)


def found_label_maps(home: Home) -> dict[str, str]:
    """Label maps that the asset `anatomy` left beside the volumes: exam id -> path under PETAR_HOME."""
    maps = {exam: home.volume_folder(exam) / ORGAN_MAP_NAME for exam in Lake(home.lake).read_table("exams")["exam_id"]}
    return {exam: str(path.relative_to(home.root)) for exam, path in sorted(maps.items()) if home.holds(path)}


def _state(path: Path) -> tuple[int, int]:
    state = path.stat()
    return state.st_size, state.st_mtime_ns
