"""What goes with a cohort or a release besides images and reports: given masks, the list of changed exams, mappings and
tables of imported data sets, checksums of a release.
"""

import random
from pathlib import Path

from benchmarks.fuzz import damage
from benchmarks.fuzz.case import Files, Input, WrongResultError
from benchmarks.fuzz.reports import csv_of, table_or_bytes
from pipelines.cohort.cohort_files import CHANGE_LIST, state_of_cohort
from pipelines.cohort.given_masks import FILE_NAME, GivenMasksError, read_given_masks
from pipelines.cohort.importers.mapping import LAYOUTS, TableMapping, read_mapping
from pipelines.cohort.importers.plan import ImporterError
from pipelines.cohort.importers.table import plan_table
from pipelines.release.checksums import CHECKSUMS_NAME, verify, write_checksums
from pipelines.release.gate import ReleaseError

_GIVEN = [
    ["exam_id", "mask", "label", "lesions", "text", "finding"],
    ["E1", "SEG.nii.gz", "1", "whole", "Node with SUV max of 8.1.", ""],
    ["E1", "SEG.nii.gz", "2", "components", "", ""],
    ["E2", "masks/a.nii.gz", "", "labels", "", "E2:0000abcd"],
]
_CHANGED = b"exam_id\nE1\nE2\n"
_MAPPINGS = {
    "nnunet": 'pet_channel = 1\nct_channel = 0\npatient = "^(.+)_[0-9]+$"\ntracer = "_(fdg)_"\nlesions = "labels"\n',
    "autopet": 'pet = ["SUV"]\nct = ["CTres"]\nmask = ["SEG"]\ntracer = "FDG"\n',
    "bids": 'weight = ["weight"]\nct = ["ct"]\nmask = ["dseg"]\nsplit = ["split"]\nlesion = ["tumor"]\n',
    "table": 'lesions = "whole"\nroot = "."\nis_suv = true\n[columns]\nexam = "id"\npet = "image"\ntext = "sentence"\n',
}
_TABLE = [
    ["id", "image", "seg", "value", "sentence", "report", "fold"],
    ["E1", "E1.nii.gz", "E1.nii.gz", "1", "Node with SUV max of 8.1.", "", "train"],
    ["E1", "E1.nii.gz", "E1.nii.gz", "2.0", "", "Second.", "test"],
    ["E2", "E2.nii.gz", "", "", "Liver lesion.", "nan", ""],
]
_OF_TABLE = TableMapping.model_validate(
    {
        "columns": {
            "exam": "id",
            "pet": "image",
            "mask": "seg",
            "label": "value",
            "text": "sentence",
            "report": "report",
            "split": "fold",
        }
    }
)


def _given(rng: random.Random) -> Files:
    return {FILE_NAME: table_or_bytes(csv_of(_GIVEN), rng)}


def _read_given(folder: Path) -> int:
    found = [mask for masks in read_given_masks(folder).values() for mask in masks]
    outside = [m for m in found if m.problem is None and (m.mask.startswith("/") or ".." in m.mask.split("/"))]
    if outside:
        raise WrongResultError(f"a mask outside its exam: {outside[0].mask!r}")
    return len(found)


def _changed(rng: random.Random) -> Files:
    listed = damage.of_bytes(_CHANGED, rng) if rng.random() < 0.5 else damage.of_table(_CHANGED, rng)
    return {CHANGE_LIST: listed, "exams/E1/SUV.nii.gz": b"", "exams/E2/SUV.nii.gz": b""}


def _read_changed(folder: Path) -> int:
    if state_of_cohort(folder) != state_of_cohort(folder):
        raise WrongResultError("an unchanged cohort has two states")
    return 1


def _mapping(rng: random.Random) -> Files:
    layout = rng.choice(LAYOUTS)
    return {f"{layout}.toml": damage.of_toml(_MAPPINGS[layout].encode(), rng)}


def _read_mapping(folder: Path) -> int:
    for layout in LAYOUTS:
        path = folder / f"{layout}.toml"
        if path.exists():
            read_mapping(layout, path)
    return 1


def _table(rng: random.Random) -> Files:
    return {"table.csv": table_or_bytes(csv_of(_TABLE), rng), "E1.nii.gz": b"", "E2.nii.gz": b""}


def _read_table(folder: Path) -> int:
    plan = plan_table(folder / "table.csv", _OF_TABLE)
    return len(plan.exams) + len(plan.problems)


def _release(rng: random.Random) -> Files:
    lines = "".join(f"{rng.randrange(16):x}{'0' * 63}  {name}\n" for name in ("card.md", "data/train.parquet"))
    return {"card.md": b"# A set\n", "data/train.parquet": b"PAR1", "lines": damage.of_bytes(lines.encode(), rng)}


def _read_release(folder: Path) -> int:
    """Checksums of the folder itself, then damaged ones: what was changed is told, never read as unchanged."""
    damaged = (folder / "lines").read_bytes()
    whole = write_checksums(folder).read_bytes()
    if verify(folder):
        raise WrongResultError("a release that nobody changed differs from its checksums")
    (folder / CHECKSUMS_NAME).write_bytes(damaged + whole[len(damaged) :])
    told = verify(folder)
    if not told and damaged:
        raise WrongResultError("damaged checksums are taken for whole ones")
    return len(told)


INPUTS = (
    Input("given masks", 400, _given, _read_given, (GivenMasksError,)),
    Input("changed.csv", 200, _changed, _read_changed, ()),
    Input("import mapping", 300, _mapping, _read_mapping, (ImporterError,)),
    Input("import table", 300, _table, _read_table, (ImporterError,)),
    Input("release checksums", 200, _release, _read_release, (ReleaseError,)),
)
