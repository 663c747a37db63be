"""The lake in an object store: moto's S3 server on loopback, spoken to over HTTP as any other."""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from pipelines.catalog.build import build_catalog, connect
from pipelines.cohort.manifest import observe_cohort
from pipelines.curation.run import TABLES, is_current, open_curation, run_stage
from pipelines.tables import schemas
from pipelines.tables.curation_version import curation_version
from pipelines.tables.home import Home, HomeError, use_files, use_lake
from pipelines.tables.lake import Lake, LakeError
from pipelines.tables.shards import shard_name, shard_of
from pipelines.tables.storage_paths import StoragePathError, storage_path_of
from tests.support.object_store import object_store

SHARD = shard_of("P1")


@dataclass
class Store:
    """A running server with one bucket."""

    bucket: str

    def url(self, prefix: str) -> str:
        """A place in the bucket."""
        return f"{self.bucket}/{prefix}"


@pytest.fixture(scope="module")
def store() -> Iterator[Store]:
    with object_store() as bucket:
        yield Store(bucket)


@pytest.fixture
def lake(store: Store, request: pytest.FixtureRequest) -> Lake:
    """An empty lake of the test's own."""
    return Lake(storage_path_of(store.url(f"lakes/{request.node.name}")))


def sentences(words: str = "Focus.") -> schemas.pl.DataFrame:
    rows = [
        {
            "exam_id": "E1",
            "patient_id": "P1",
            "row_key": "k",
            "sentence_id": f"E1:{n}",
            "sentence": words,
            "start": n * 10,
            "end": n * 10 + 9,
            "is_candidate": True,
        }
        for n in range(3)
    ]
    return schemas.frame("sentences", rows)


class TestALakeOnS3:
    def test_gives_back_what_was_written_with_what_it_was_made_from(self, lake: Lake) -> None:
        lake.write_shard("sentences", SHARD, sentences(), {"keys": {"E1": "k"}})
        assert lake.read_shard("sentences", SHARD)["sentence_id"].to_list() == ["E1:0", "E1:1", "E1:2"]
        assert lake.shard_inputs("sentences", SHARD) == {"keys": {"E1": "k"}}

    def test_has_nothing_where_nothing_was_written(self, lake: Lake) -> None:
        assert (lake.has_shard("sentences", SHARD), lake.shard_meta("sentences", SHARD)) == (False, None)
        assert lake.read_table("sentences").is_empty()

    def test_holds_the_bytes_that_a_folder_would(self, lake: Lake, tmp_path: Path) -> None:
        there = lake.write_shard("sentences", SHARD, sentences(), {"a": 1})
        here = Lake(tmp_path).write_shard("sentences", SHARD, sentences(), {"a": 1})
        assert there.path.read_bytes() == here.path.read_bytes()

    def test_leaves_an_equal_file_alone(self, lake: Lake) -> None:
        assert lake.write_shard("sentences", SHARD, sentences(), {}).changed
        assert not lake.write_shard("sentences", SHARD, sentences(), {}).changed

    def test_sees_at_once_what_another_wrote(self, lake: Lake, tmp_path: Path) -> None:
        import boto3

        lake.write_shard("sentences", SHARD, sentences(), {"by": "me"})
        other = Lake(tmp_path).write_shard("sentences", SHARD, sentences("Another focus."), {"by": "another"})
        key = str(lake.path("sentences", SHARD)).removeprefix("s3://petar/")
        boto3.client("s3").put_object(Bucket="petar", Key=key, Body=other.path.read_bytes())
        assert lake.shard_inputs("sentences", SHARD) == {"by": "another"}
        assert lake.read_shard("sentences", SHARD)["sentence"].unique().to_list() == ["Another focus."]

    def test_reads_all_shards_of_a_table(self, lake: Lake) -> None:
        lake.write_shard("sentences", SHARD, sentences(), {})
        other = sentences().with_columns(patient_id=schemas.pl.lit("P2"))
        lake.write_shard("sentences", shard_of("P2"), other, {})
        assert lake.read_table("sentences").height == 6

    def test_tells_foreign_files_and_broken_ones(self, lake: Lake) -> None:
        path = lake.write_shard("sentences", SHARD, sentences(), {}).path
        path.write_bytes(path.read_bytes()[:100])
        with pytest.raises(LakeError, match=f"no whole Parquet file.*materialise shard {shard_name(SHARD)}"):
            lake.read_shard("sentences", SHARD)

    def test_keeps_broken_rows_in_quarantine_until_they_are_mended(self, lake: Lake) -> None:
        broken = sentences().with_columns(end=schemas.pl.lit(-1, schemas.pl.Int64))
        assert lake.write_shard("sentences", SHARD, broken, {}).quarantined == 3
        assert lake.read_table("quarantine").height == 3
        lake.write_shard("sentences", SHARD, sentences(), {})
        assert lake.read_table("quarantine").is_empty()


class TestAStoreThatCannotBeUsed:
    def test_names_the_bucket_that_is_not_there(self, store: Store) -> None:
        with pytest.raises(StoragePathError, match=r"s3://nobucket/lake.*make the bucket"):
            Lake(storage_path_of("s3://nobucket/lake")).write_shard("sentences", SHARD, sentences(), {})

    def test_names_a_kind_of_url_that_nothing_serves(self) -> None:
        with pytest.raises(
            StoragePathError, match=r"expected a path or a URL like s3://bucket/prefix, got 'nokind://x'"
        ):
            storage_path_of("nokind://x")


class TestAHome:
    def test_remembers_its_lake(self, store: Store, tmp_path: Path) -> None:
        use_lake(Home(tmp_path), store.url("remembered/"))
        assert str(Home(tmp_path).lake) == store.url("remembered")

    def test_refuses_another_lake(self, store: Store, tmp_path: Path) -> None:
        use_lake(Home(tmp_path), store.url("one"))
        with pytest.raises(HomeError, match=r"expected its tables at .*/one .* names .*/two"):
            use_lake(Home(tmp_path), store.url("two"))

    def test_refuses_to_leave_tables_behind(self, store: Store, tmp_path: Path) -> None:
        Lake(tmp_path / "lake").write_shard("sentences", SHARD, sentences(), {})
        with pytest.raises(HomeError, match="expected no tables yet"):
            use_lake(Home(tmp_path), store.url("two"))

    def test_may_name_the_folder_that_it_has_anyway(self, tmp_path: Path) -> None:
        use_lake(Home(tmp_path), str(tmp_path / "lake"))
        assert Home(tmp_path).lake == tmp_path / "lake"


REPORT = '"Nodule in the left upper lobe, SUVmax 5.2 (slice 40). Node in the right axilla, SUVmax 3.1 (slice 12)."'


def curate(home: Home, cohort: Path) -> int:
    """Exams computed by bringing the shards of two patients up to date."""
    observe_cohort(cohort, home.manifest)
    curation = open_curation(home)
    n = 0
    for shard in (shard_of("P1"), shard_of("P2")):
        if not is_current(curation, shard):
            n += sum(run_stage(curation, table, shard).counts.recomputed for table in TABLES)
    return n


class TestACurationOnS3:
    @pytest.fixture(scope="class")
    @classmethod
    def cohort(cls, tmp_path_factory: pytest.TempPathFactory) -> Path:
        folder = tmp_path_factory.mktemp("cohort")
        (folder / "reports.csv").write_text(f"exam_id,patient_id,findings\nE1,P1,{REPORT}\nE2,P2,No focus.\n")
        return folder

    @pytest.fixture(scope="class")
    @classmethod
    def curated(cls, store: Store, cohort: Path, tmp_path_factory: pytest.TempPathFactory) -> Home:
        root = tmp_path_factory.mktemp("home")
        use_lake(Home(root), store.url("curated"))
        home = Home(root)
        # Exams without images have no peaks, and nothing to calibrate.
        assert curate(home, cohort) == 2 * len(set(TABLES) - {"peaks", "calibration"})
        return home

    def test_is_the_one_in_a_folder(self, curated: Home, cohort: Path, tmp_path: Path) -> None:
        local = Home(tmp_path)
        curate(local, cohort)
        assert curation_version(curated) == curation_version(local)
        assert not (curated.root / "lake").exists()

    def test_computes_nothing_twice(self, curated: Home, cohort: Path) -> None:
        assert curate(curated, cohort) == 0

    def test_is_read_through_a_catalog_that_needs_no_store(
        self, curated: Home, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        build_catalog(curated)
        monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
        with connect(curated) as con:
            assert con.sql("select count(*) from findings").fetchall() == [(2,)]

    def test_downloads_for_a_version_what_the_one_before_has_not(
        self, curated: Home, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        from pipelines.catalog import build as catalog

        first = build_catalog(curated).version
        lake = Lake(curated.lake)
        shard = shard_of("P2")
        row = lake.read_shard("exams", shard).with_columns(tracer=schemas.pl.lit("FDG"))
        lake.write_shard("exams", shard, row, {})
        downloaded: list[str] = []
        read = catalog.read_bytes
        monkeypatch.setattr(catalog, "read_bytes", lambda place: downloaded.append(str(place)) or read(place))
        assert build_catalog(curated).version != first
        assert downloaded == [str(lake.path("exams", shard))]


class TestTheCommandLine:
    def test_takes_the_place_from_the_environment(self, store: Store, tmp_path: Path) -> None:
        from assets.resources import workspace_from

        environment = {"PETAR_HOME": str(tmp_path), "PETAR_LAKE": store.url("team")}
        workspace = workspace_from(environment)
        assert str(workspace.paths.lake) == store.url("team")
        assert os.environ.get("PETAR_LAKE") is None


class TestFilesOnS3:
    @pytest.fixture
    def homes(self, store: Store, tmp_path: Path) -> tuple[Home, Home]:
        """Homes of two machines with one store."""
        homes = Home(tmp_path / "one"), Home(tmp_path / "other")
        for home in homes:
            home.root.mkdir()
            use_files(home, store.url("files"))
        return homes

    def test_are_those_that_were_last_written(self, homes: tuple[Home, Home]) -> None:
        one, other = homes
        path = one.masks / "E1" / "a.nii.gz"
        path.parent.mkdir(parents=True)
        for words in ("a", "another"):
            path.write_text(words)
            one.keep(path)
            assert other.file("masks/E1/a.nii.gz").read_text() == words
        assert other.files_below(other.masks) == {other.masks / "E1" / "a.nii.gz"}
        assert other.folders_in(other.masks) == [other.masks / "E1"]

    def test_go_with_their_folder(self, homes: tuple[Home, Home]) -> None:
        one, other = homes
        path = one.checkpoints / "stage" / "result.json"
        path.parent.mkdir(parents=True)
        path.write_text("{}")
        one.keep(one.checkpoints / "stage")
        assert other.holds("checkpoints/stage/result.json")
        other.remove_folder(other.checkpoints / "stage")
        assert not other.holds("checkpoints/stage/result.json")
