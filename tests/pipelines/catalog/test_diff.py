"""The diff of two curations: the short ways give what the long way does, whatever the versions hold."""

from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pipelines.catalog import diff
from pipelines.tables import schemas
from pipelines.tables.curation_version import CURATED
from pipelines.tables.lake import encode
from pipelines.tables.outcomes import Outcome
from pipelines.tables.shards import shard_name, shard_of

PATIENTS = ("P0", "P1")
"""Of different shards: an exam may move from one to the other."""

Version = Mapping[str, Mapping[str, Any]]
"""Exam -> its patient, its images, and its findings by letter."""

findings = st.fixed_dictionaries(
    {
        "slice": st.sampled_from([10, 11]),
        "organ": st.sampled_from([None, "liver"]),
        "corrected": st.sampled_from([None, "organ: lung -> liver (Dr A)"]),
        "localised": st.sampled_from([None, Outcome.LESION, Outcome.LESION, Outcome.NOT_IN_IMAGE]),
        "mtv_ml": st.sampled_from([3.0, 4.0]),
    }
)
exams = st.fixed_dictionaries(
    {
        "patient_id": st.sampled_from([PATIENTS[0], *PATIENTS]),
        "images": st.sampled_from("fg"),
        "is_read": st.sampled_from([True, True, False]),
        "findings": st.dictionaries(st.sampled_from("ab"), findings),
    }
)
versions: st.SearchStrategy[Version] = st.dictionaries(st.sampled_from(["E1", "E2", "E3"]), exams)


NO_FINDING: Version = {"E0": {"patient_id": PATIENTS[0], "images": "f", "is_read": True, "findings": {}}}


def write(root: Path, version: Version, suffix: str = "") -> dict[str, list[Path]]:
    """Files of a version by table; `suffix`: of the names of its shards."""
    rows: dict[str, list[dict[str, Any]]] = {table: [] for table in ("exams", "sentences", "findings", "lesions")}
    for exam_id, exam in version.items():
        keys = {"exam_id": exam_id, "patient_id": exam["patient_id"], "row_key": "k"}
        grid = {f"spacing_{axis}_mm": 3.0 for axis in "ijk"} | {"n_slices": 90, "shape_k": 90, "suv_path": "SUV.nii"}
        about = {"shard": shard_of(exam["patient_id"]), "status": "ok", "image_fingerprint": exam["images"]}
        if exam["is_read"]:  # A version may be published while a curation is on its way.
            rows["exams"].append(keys | about | grid)
        for letter, found in exam["findings"].items():
            name = f"{exam_id}:{letter}"
            said = {"sentence_id": name, "sentence": "x", "slice": found["slice"], "suvmax_reported": 8.0}
            span = {"start": 0, "end": 1, "is_candidate": True}
            rows["sentences"].append(keys | {"sentence_id": name, "sentence": "x"} | span)
            outcome = "accepted" if found["localised"] else Outcome.TEMPLATE.value
            told = {"outcome": outcome, "organ": found["organ"], "corrected": found["corrected"]}
            rows["findings"].append(keys | said | told | {"finding_id": name})
            if found["localised"]:
                asked = {"finding_id": name, "sentence": "x", "slice": found["slice"], "suvmax_reported": 8.0}
                rows["lesions"].append(keys | asked | measured(found))
    files: dict[str, list[Path]] = {table: [] for table in CURATED}
    for table, made in rows.items():
        frame = schemas.frame(table, made)
        for patient_id in PATIENTS:
            own = frame.filter(patient_id=patient_id)
            if not own.is_empty():
                kept, broken = schemas.validate(table, own)
                assert broken.is_empty()
                shard = shard_name(shard_of(patient_id)) + suffix
                path = root / table / f"{shard}.parquet"
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(encode(table, shard, kept, {})[0])
                files[table].append(path)
    return files


def measured(found: Mapping[str, Any]) -> dict[str, Any]:
    outcome = found["localised"]
    if outcome is not Outcome.LESION:
        return {"outcome": outcome.value}
    mtv_ml = found["mtv_ml"]
    row = {"outcome": outcome.value, "n_voxels": 100, "voxel_ml": mtv_ml / 100, "suvmax": 8.0, "suvmean": 5.0}
    places = {f"{what}_{axis}_mm": 1.0 for what in ("peak", "centroid") for axis in "xyz"}
    return row | places | {"mtv_ml": mtv_ml, "tlg": 5 * mtv_ml, "mask_path": "mask.nii.gz"}


class TestCurationDiff:
    @settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
    @given(version=versions)
    def test_first_version_is_told_as_any_other(self, version: Version) -> None:
        with TemporaryDirectory() as folder:
            files = write(Path(folder) / "now", version)
            short = diff.curation_diff({}, files)
            assert short.height == sum(
                found["localised"] is Outcome.LESION for exam in version.values() for found in exam["findings"].values()
            )
            # After a version without a finding it is compared as every other version is.
            assert short.equals(diff.curation_diff(write(Path(folder) / "before", NO_FINDING), files))

    @settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
    @given(before=versions, now=versions)
    def test_rows_put_aside_would_not_have_been_told(self, before: Version, now: Version) -> None:
        with TemporaryDirectory() as folder:
            old, new = write(Path(folder) / "old", before), write(Path(folder) / "new", now)
            short = diff.curation_diff(old, new)
            # In shards of other names no row is equal to one of its own shard, so none is put aside.
            assert short.equals(diff.curation_diff(old, write(Path(folder) / "moved", now, suffix="-moved")))
