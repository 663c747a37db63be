"""What goes wrong with disks, clocks and other writers: a clear error or a wait, nothing lost, nothing half-written."""

import os
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import polars as pl
import pytest

from pipelines.catalog.build import build_catalog, connect
from pipelines.cohort.manifest import observe_cohort, read_manifest, scan_cohort
from pipelines.curation.run import open_curation, run_stage
from pipelines.tables import schemas
from pipelines.tables.curation_version import curation_version
from pipelines.tables.home import Home
from pipelines.tables.lake import Lake
from pipelines.tables.shards import shard_of
from tests.support.curations import curate_small
from tests.support.paths import ROOT

SHARD = shard_of("P1")


@dataclass(frozen=True)
class Disk:
    """A file system in memory of its own."""

    folder: Path

    def remount(self, options: str) -> None:
        """Changes its size or makes it read-only."""
        subprocess.run(["mount", "-o", f"remount,{options}", str(self.folder)], check=True)


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Disk]:
    """A disk of 64 KB; skipped where nothing can be mounted."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=64k", "petar", str(folder)], check=False, capture_output=True
    )
    if os.geteuid() != 0 or mounted.returncode:
        pytest.skip("needs the right to mount a small disk")
    yield Disk(folder)
    subprocess.run(["umount", "-l", str(folder)], check=True)


def sentences(n: int, words: str = "Focus.") -> pl.DataFrame:
    row = {"exam_id": "E1", "patient_id": "P1", "row_key": "k", "start": 0, "end": 9, "is_candidate": True}
    made = [row | {"sentence_id": f"E1:{i}", "sentence": f"{words} {hash((words, i))}"} for i in range(n)]
    return schemas.frame("sentences", made)


def files_of(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


class TestAFullDisk:
    def test_names_the_file_and_keeps_the_old_rows(self, disk: Disk) -> None:
        lake = Lake(disk.folder / "lake")
        lake.write_shard("sentences", SHARD, sentences(3), {})
        with pytest.raises(OSError, match=rf"No space left on device: .*{lake.path('sentences', SHARD).name}"):
            lake.write_shard("sentences", SHARD, sentences(20_000), {})
        assert lake.read_shard("sentences", SHARD).height == 3
        assert files_of(disk.folder) == {f"lake/sentences/{SHARD:02d}.parquet"}

    def test_that_is_emptied_takes_the_rows(self, disk: Disk) -> None:
        lake = Lake(disk.folder / "lake")
        with pytest.raises(OSError, match="No space left"):
            lake.write_shard("sentences", SHARD, sentences(20_000), {})
        disk.remount("size=64m")
        assert lake.write_shard("sentences", SHARD, sentences(20_000), {}).n_rows == 20_000

    def test_fails_an_exam_with_its_reason_and_the_next_run_does_it(
        self, disk: Disk, small_cohort: Path, tmp_path: Path
    ) -> None:
        disk.remount("size=300k")
        home, undisturbed = Home(disk.folder / "home"), Home(tmp_path / "undisturbed")
        for each in (home, undisturbed):
            observe_cohort(small_cohort, each.manifest)
        shard = next(s for s in range(64) if any(e.folder and e.has_report for e in read_manifest(home.manifest, s)[1]))
        failed = run_stage(open_curation(home), "exams", shard)
        assert failed.counts.failed > 0
        assert "No space left on device" in " ".join(failed.frame["message"].drop_nulls())
        disk.remount("size=512m")
        run_stage(open_curation(home), "exams", shard)
        run_stage(open_curation(undisturbed), "exams", shard)
        assert Lake(home.lake).shard_version("exams", shard) == Lake(undisturbed.lake).shard_version("exams", shard)
        left = {f for f in files_of(home.root) if f.startswith("volumes/")}
        assert left == {f for f in files_of(undisturbed.root) if f.startswith("volumes/")}

    def test_leaves_the_catalog_that_was_there(self, disk: Disk) -> None:
        disk.remount("size=8m")
        home = Home(disk.folder / "home")
        Lake(home.lake).write_shard("sentences", SHARD, sentences(3), {})
        build_catalog(home)
        Lake(home.lake).write_shard("sentences", SHARD, sentences(4), {})
        (disk.folder / "ballast").write_bytes(bytes(_free(disk.folder)))
        with pytest.raises(OSError, match="No space left"):
            build_catalog(home)
        with connect(home) as con:
            assert con.sql("select count(*) from sentences").fetchall() == [(3,)]
        (disk.folder / "ballast").unlink()
        build_catalog(home)
        with connect(home) as con:
            assert con.sql("select count(*) from sentences").fetchall() == [(4,)]


def _free(folder: Path) -> int:
    found = os.statvfs(folder)
    return found.f_bavail * found.f_frsize


class TestAReadOnlyFolder:
    def test_names_the_file_and_is_left_as_it_was(self, disk: Disk) -> None:
        lake = Lake(disk.folder / "lake")
        lake.write_shard("sentences", SHARD, sentences(3), {})
        disk.remount("ro")
        with pytest.raises(OSError, match=r"Read-only file system: .*sentences"):
            lake.write_shard("sentences", SHARD, sentences(4), {})
        assert lake.read_shard("sentences", SHARD).height == 3

    def test_can_still_be_read_and_queried(self, disk: Disk) -> None:
        disk.remount("size=8m")
        Lake(disk.folder / "lake").write_shard("sentences", SHARD, sentences(3), {})
        build_catalog(Home(disk.folder))
        disk.remount("ro")
        with connect(Home(disk.folder)) as con:
            assert con.sql("select count(*) from sentences").fetchall() == [(3,)]


class TestAClockThatWasSetBack:
    def test_hides_no_change_of_an_exam(self, tmp_path: Path) -> None:
        image = tmp_path / "exams" / "E1" / "SUV.nii.gz"
        image.parent.mkdir(parents=True)
        (tmp_path / "reports.csv").write_text("exam_id,patient_id,findings\nE1,P1,No focus.\n")
        image.write_bytes(b"one")
        before = scan_cohort(tmp_path)
        image.write_bytes(b"two")
        os.utime(image, (0, 0))
        after = scan_cohort(tmp_path, before.fingerprints)
        assert after.entries[0].image_fingerprint != before.entries[0].image_fingerprint

    def test_hides_no_new_rows(self, tmp_path: Path) -> None:
        lake = Lake(tmp_path)
        lake.write_shard("sentences", SHARD, sentences(3), {"n": 1})
        assert lake.shard_inputs("sentences", SHARD) == {"n": 1}
        path = lake.write_shard("sentences", SHARD, sentences(3, "Other."), {"n": 2}).path
        os.utime(str(path), (0, 0))
        assert lake.shard_inputs("sentences", SHARD) == {"n": 2}


_CURATE = """
    import sys
    from pathlib import Path
    from pipelines.tables.home import Home
    from pipelines.catalog.build import build_catalog
    from tests.support.curations import curate_small

    home = Home(Path(sys.argv[2]))
    curate_small(home, Path(sys.argv[1]))
    build_catalog(home)
"""


class TestTwoWriters:
    def test_of_one_home_leave_what_one_leaves(self, small_cohort: Path, tmp_path: Path) -> None:
        def start(home: Path) -> subprocess.Popen[str]:
            command = [sys.executable, "-W", "ignore", "-c", textwrap.dedent(_CURATE), str(small_cohort), str(home)]
            environment = {**os.environ, "PYTHONPATH": str(ROOT)}
            return subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True)

        shared, alone = tmp_path / "shared", tmp_path / "alone"
        processes = [start(shared), start(shared)]
        errors = [process.communicate(timeout=300)[1] for process in processes]
        assert [process.returncode for process in processes] == [0, 0], errors
        curate_small(Home(alone), small_cohort)
        assert curation_version(Home(shared)) == curation_version(Home(alone))
        assert {f for f in files_of(shared) if f.startswith(("lake", "masks", "volumes"))} == {
            f for f in files_of(alone) if f.startswith(("lake", "masks", "volumes"))
        }
