"""Versions of a curation: what they are made of, what keeps them, and what changed from one to the next."""

import json
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from pipelines.catalog.build import CatalogError, build_catalog, connect, published_diff, run_query
from pipelines.catalog.versions import (
    VersionError,
    accept,
    file_sha256,
    frozen_files,
    is_pinned,
    pin_current,
    pointers,
    read_accepted,
    read_history,
    read_manifest,
    resolve_version,
    version_folder,
)
from pipelines.tables import schemas
from pipelines.tables.home import Home
from pipelines.tables.lake import Lake
from pipelines.tables.shards import shard_of

MAKER = {"logic": "lesions-1", "parameters": {"contour": {"method": "adaptive", "background_part": 0.4}}}


def keys(exam: str) -> dict[str, str]:
    return {"exam_id": exam, "patient_id": f"P-{exam}", "row_key": "k"}


def write(home: Home, table: str, exam: str, row: dict[str, Any] | None, maker: dict[str, Any] | None = None) -> None:
    """One exam a shard: its row of a table, or none."""
    made = {"default": "m", "of": {}, "by_id": {"m": maker or MAKER}}
    frame = schemas.frame(table, [keys(exam) | row] if row else [])
    Lake(home.root / "lake").write_shard(
        table, shard_of(f"P-{exam}"), frame, {"keys": {exam: "k"} if row else {}, "makers": made}
    )


def put(home: Home, exam: str, *, mtv_ml: float = 3.0, maker: dict[str, Any] | None = None, **said: Any) -> None:
    """An exam with one lesion, its volume and its mask."""
    shard = shard_of(f"P-{exam}")
    suv, mask = f"volumes/{exam}/SUV.nii", f"masks/{exam}/a.nii.gz"
    for name in (suv, mask):
        (home.root / name).parent.mkdir(parents=True, exist_ok=True)
        (home.root / name).unlink(
            missing_ok=True
        )  # As the atomic writer does: a new file, not new bytes in the old one.
        (home.root / name).write_text(f"{name} {mtv_ml}")
    exam_row = {"shard": shard, "status": "ok", "n_slices": 90, "shape_k": 90, "suv_path": suv}
    exam_row |= {f"spacing_{a}_mm": 3.0 for a in "ijk"} | {"image_fingerprint": said.pop("images", "f")}
    write(home, "exams", exam, exam_row)
    identity = {"sentence_id": f"{exam}:a", "sentence": "x"}
    write(home, "sentences", exam, identity | {"start": 0, "end": 1, "is_candidate": True})
    finding = identity | {"finding_id": f"{exam}:a", "slice": 10, "suvmax_reported": 8.0, "outcome": "accepted"}
    write(home, "findings", exam, finding | said)
    if said.get("outcome", "accepted") != "accepted":
        write(home, "lesions", exam, None)
        return
    row = {"finding_id": f"{exam}:a", "outcome": "lesion", "sentence": "x", "slice": 10, "suvmax_reported": 8.0}
    row |= {"n_voxels": 100, "voxel_ml": mtv_ml / 100, "suvmax": 8.0, "suvmean": 5.0, "mtv_ml": mtv_ml}
    row |= {"tlg": 5 * mtv_ml, "mask_path": mask}
    row |= {f"{what}_{axis}_mm": 1.0 for what in ("peak", "centroid") for axis in "xyz"}
    write(home, "lesions", exam, row, maker)


@pytest.fixture
def home(tmp_path: Path) -> Home:
    """Two exams of a lesion each, published."""
    home = Home(tmp_path)
    put(home, "E1")
    put(home, "E2")
    build_catalog(home)
    return home


def lesions(home: Home, version: str) -> list[tuple[str, float]]:
    with connect(home, version) as con:
        return con.sql("SELECT finding_id, mtv_ml FROM lesions ORDER BY 1").fetchall()


def point(home: Home, table: str, version: str) -> None:
    """Has a table of the model say that it was made of a version."""
    Lake(home.root / "lake").write_table(
        table, schemas.empty(table), {"curation": read_manifest(home, version)["curation"]}
    )


class TestManifest:
    def test_names_every_file_by_its_hash(self, home: Home) -> None:
        (version,) = read_history(home)
        manifest = read_manifest(home, version)
        hashes = {shard["sha256"] for shards in manifest["tables"].values() for shard in shards.values()}
        files = [path for paths in frozen_files(home, version).values() for path in paths]
        assert {file_sha256(path) for path in files} == hashes

    def test_names_logic_parameters_and_code(self, home: Home) -> None:
        manifest = read_manifest(home, read_history(home)[0])
        (made,) = manifest["makers"]["lesions"].values()
        assert made == {**MAKER, "exams": 2}
        assert len(manifest["code"]["sources"]) == 32

    def test_stays_as_it_is_when_equal_rows_are_published_again(self, home: Home) -> None:
        (version,) = read_history(home)
        before = {p: p.read_bytes() for p in version_folder(home, version).rglob("*.parquet")}
        other = {"logic": "lesions-2", "parameters": {}}
        put(home, "E1", maker=other)
        assert build_catalog(home).version == version
        assert {p: p.read_bytes() for p in version_folder(home, version).rglob("*.parquet")} == before


class TestAccept:
    def test_keeps_the_version_its_masks_and_its_volumes(self, home: Home) -> None:
        accepted = accept(home, "v1", "Dr A")
        put(home, "E1", mtv_ml=9.0)
        build_catalog(home, keep=2)
        for n in range(3):
            put(home, "E2", mtv_ml=4.0 + n)
            build_catalog(home, keep=2)
        assert lesions(home, "v1") == [("E1:a", 3.0), ("E2:a", 3.0)]
        assert accepted.version in read_history(home)
        own = Home(version_folder(home, accepted.version))
        assert (own.mask_folder("E1") / "a.nii.gz").read_text() == "masks/E1/a.nii.gz 3.0"
        with connect(home, "v1") as con:
            paths = [Path(p) for (p,) in con.sql("SELECT mask_path FROM lesions").fetchall()]
        assert all(path.is_relative_to(own.root) and path.exists() for path in paths)

    def test_never_moves_a_name_to_another_version(self, home: Home) -> None:
        accept(home, "v1", "Dr A")
        put(home, "E1", mtv_ml=9.0)
        build_catalog(home)
        with pytest.raises(VersionError, match="never changes"):
            accept(home, "v1", "Dr A")
        assert list(read_accepted(home)) == ["v1"]

    def test_refuses_a_lake_that_has_moved_on(self, home: Home) -> None:
        put(home, "E1", mtv_ml=9.0)
        with pytest.raises(VersionError, match="the lake has moved on"):
            accept(home, "v1", "Dr A")

    def test_refuses_where_nothing_is_published(self, tmp_path: Path) -> None:
        with pytest.raises(VersionError, match="materialise `catalog` first"):
            accept(Home(tmp_path), "v1", "Dr A")

    @pytest.mark.parametrize(("name", "who"), [("", "Dr A"), ("v1", " ")])
    def test_refuses_without_name_or_person(self, home: Home, name: str, who: str) -> None:
        with pytest.raises(VersionError, match="give both"):
            accept(home, name, who)


class TestPruning:
    def publish(self, home: Home, *volumes_ml: float, keep: int = 1) -> list[str]:
        found = []
        for volume in volumes_ml:
            put(home, "E1", mtv_ml=volume)
            found.append(build_catalog(home, keep=keep).version)
        return found

    def test_keeps_the_last_ones_and_nothing_else(self, home: Home) -> None:
        versions = self.publish(home, 10, 11, 12, keep=2)
        assert read_history(home) == versions[-2:]
        assert {p.name for p in (home.root / "versions").iterdir() if p.is_dir()} == set(versions[-2:])

    @pytest.mark.parametrize("table", ["samples", "predictions", "scores"])
    def test_keeps_what_a_table_was_made_of_until_it_is_made_of_another(self, home: Home, table: str) -> None:
        (first,) = read_history(home)
        point(home, table, first)
        last = self.publish(home, 10, 11)[-1]
        assert pointers(home) == {first: [f"table {table}"]}
        assert first in read_history(home)
        point(home, table, last)
        self.publish(home, 12)
        assert first not in read_history(home)

    def test_keeps_what_a_checkpoint_was_trained_on(self, home: Home) -> None:
        (first,) = read_history(home)
        contract = home.root / "checkpoints" / "findings_full" / "checkpoint" / "model.json"
        contract.parent.mkdir(parents=True)
        contract.write_text(json.dumps({"lineage": [{"curation": read_manifest(home, first)["curation"]}]}))
        self.publish(home, 10, 11)
        assert pointers(home) == {first: ["checkpoint findings_full/checkpoint"]}
        assert lesions(home, first) == [("E1:a", 3.0), ("E2:a", 3.0)]

    def test_current_is_pinned_where_training_begins(self, home: Home) -> None:
        version = pin_current(home)
        assert is_pinned(version_folder(home, version))
        put(home, "E1", mtv_ml=9.0)
        with pytest.raises(VersionError, match="the lake has moved on"):
            pin_current(home)


class TestResolveVersion:
    def test_takes_a_name_or_the_beginning_of_a_version(self, home: Home) -> None:
        (version,) = read_history(home)
        accept(home, "v1", "Dr A")
        assert resolve_version(home, "v1") == resolve_version(home, version[:5]) == version

    def test_names_what_there_is(self, home: Home) -> None:
        with pytest.raises(CatalogError, match=f"kept versions: {read_history(home)[0]}; accepted names: none"):
            connect(home, "nowhere")


class TestCurationDiff:
    def why(self, home: Home) -> list[tuple[str, str, str]]:
        """(change, why, finding) of what differs once the lake is published."""
        summary = build_catalog(home)
        return sorted(summary.diff.select("change", "why", "finding_id").rows())

    def test_new_exam(self, home: Home) -> None:
        put(home, "E3")
        assert self.why(home) == [("came", "new exam", "E3:a")]

    def test_removed_exam(self, home: Home) -> None:
        for table in ("exams", "sentences", "findings", "lesions"):
            write(home, table, "E1", None)
        assert self.why(home) == [("went", "exam removed", "E1:a")]

    def test_other_images(self, home: Home) -> None:
        put(home, "E1", mtv_ml=4.0, images="g")
        assert self.why(home) == [("changed", "images changed", "E1:a")]

    def test_correction_names_its_author(self, home: Home) -> None:
        put(home, "E1", organ="liver", corrected="organ: lung -> liver (Dr A, 2026-01-02)")
        assert self.why(home) == [("changed", "correction", "E1:a")]
        assert "Dr A" in run_query(home, "curation_diff")["detail"][0]

    def test_correction_that_rejects(self, home: Home) -> None:
        put(home, "E1", outcome="rejected by a correction", corrected="outcome: ... (Dr A, 2026-01-02)")
        assert self.why(home) == [("went", "correction", "E1:a")]

    def test_parameters_are_named_with_both_values(self, home: Home) -> None:
        put(home, "E1", mtv_ml=4.0, maker={"logic": "lesions-1", "parameters": {"contour": {"background_part": 0.5}}})
        assert self.why(home) == [("changed", "parameters", "E1:a")]
        assert "lesions.contour.background_part: 0.4 -> 0.5" in run_query(home, "curation_diff")["detail"][0]

    def test_logic(self, home: Home) -> None:
        put(home, "E1", mtv_ml=4.0, maker=MAKER | {"logic": "lesions-2"})
        assert self.why(home) == [("changed", "logic", "E1:a")]

    def test_unchanged_is_no_row(self, home: Home) -> None:
        assert self.why(home) == [("came", "new exam", "E1:a"), ("came", "new exam", "E2:a")]
        put(home, "E2", maker=MAKER | {"logic": "lesions-2"})
        assert build_catalog(home).compared is None

    def test_of_any_two_versions(self, home: Home) -> None:
        accept(home, "v1", "Dr A")
        put(home, "E1", mtv_ml=4.0)
        build_catalog(home)
        put(home, "E2", mtv_ml=4.0)
        build_catalog(home)
        assert published_diff(home, "v1").rows["finding_id"].to_list() == ["E1:a", "E2:a"]
        assert published_diff(home).rows["finding_id"].to_list() == ["E2:a"]

    def test_looks_past_versions_of_the_same_curation(self, home: Home) -> None:
        put(home, "E1", mtv_ml=4.0)
        second = build_catalog(home)
        Lake(home.root / "lake").write_table("samples", schemas.empty("samples"), {"curation": "x"})
        Lake(home.root / "lake").write_table(
            "scores",
            schemas.frame(
                "scores",
                [
                    {
                        "model": "m",
                        "split": "test",
                        "metric": "b",
                        "numbers": "raw",
                        "subset": "all",
                        "status": "published",
                        "value": 1.0,
                    }
                ],
            ),
        )
        third = build_catalog(home)
        assert third.version != second.version
        assert third.diff.equals(second.diff)
        with connect(home) as con:
            assert con.sql("SELECT * FROM provenance").pl().sort("table").rows() == [
                ("samples", "x"),
                ("scores", None),
            ]


def test_diff_columns_are_typed_without_rows(home: Home) -> None:
    assert published_diff(home, read_history(home)[0]).rows.schema["mtv_ml_now"] == pl.Float64
