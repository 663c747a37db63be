"""Releases: what is written loads elsewhere with equal rows, is the same twice, and names nobody."""

import gzip
import io
import json
import os
import subprocess
import sys
import tarfile
from dataclasses import dataclass
from pathlib import Path

import nibabel
import numpy as np
import polars as pl
import pytest

from pipelines.catalog.build import build_catalog
from pipelines.catalog.versions import accept
from pipelines.cohort.importers.mapping import read_mapping
from pipelines.cohort.importers.write import plan_import, write_cohort
from pipelines.cohort.privacy.deidentification import Deidentifier, Pseudonyms
from pipelines.imaging.volume import Volume
from pipelines.release.checksums import CHECKSUMS_NAME, verify
from pipelines.release.contents import packed
from pipelines.release.gate import PrivacyGate, ReleaseError, open_gate
from pipelines.release.write import write_release
from pipelines.settings import PrivacySettings, ProjectSettings, ReleaseSettings
from pipelines.tables.home import Home
from pipelines.tables.lake import Lake
from tests.support.curations import curate_small
from tests.support.given_cohort import AFFINE, KEY, PLANTED, body, write_cohort_folder

ROOT = Path(__file__).resolve().parents[3]


@dataclass(frozen=True)
class Released:
    home: Home
    folder: Path
    gate: PrivacyGate

    def lesions(self) -> pl.DataFrame:
        return pl.read_parquet(self.folder / "data" / "lesions" / "*.parquet")


@pytest.fixture(scope="module")
def released(tmp_path_factory: pytest.TempPathFactory) -> Released:
    root = tmp_path_factory.mktemp("release")
    write_cohort_folder(root / "cohort")
    home = Home(root / "home")
    curate_small(home, root / "cohort")
    build_catalog(home)
    for name in ("v1", "M\u00e4rz"):
        accept(home, name, "Dr A")
    gate = open_gate(home, "v1", KEY)
    write_release(home, "v1", root / "out", gate)
    return Released(home, root / "out", gate)


def unpacked(path: Path) -> list[bytes]:
    """The bytes of a file, and of what is packed in it."""
    data = path.read_bytes()
    found = [data]
    if path.suffix == ".gz":
        found.append(gzip.decompress(data))
    if path.suffix == ".tar":
        with tarfile.open(path) as tar:
            members = [file.read() for member in tar.getmembers() if (file := tar.extractfile(member))]
            found += [member.name.encode() for member in tar.getmembers()]
        found += members + [gzip.decompress(m) for m in members if m[:2] == b"\x1f\x8b"]
    if path.suffix == ".parquet":
        for row in pl.read_parquet(path).to_dicts():
            images = [value["bytes"] for value in row.values() if isinstance(value, dict) and value["bytes"]]
            found += [repr(row).encode(), *(gzip.decompress(image) for image in images)]
    return found


class TestPrivacy:
    def test_no_planted_identifier_is_in_any_byte(self, released: Released) -> None:
        for path in sorted(released.folder.rglob("*")):
            for data in unpacked(path) if path.is_file() else ():
                for word in PLANTED:
                    assert word.lower().encode() not in data.lower(), (path.name, word)
            assert not any(word.lower() in path.name.lower() for word in PLANTED)

    def test_texts_keep_what_they_say_of_the_lesion(self, released: Released) -> None:
        texts = released.lesions().filter(pl.col("text_source") == "given")["sentence"].to_list()
        assert all("left axilla with SUV max of 9.0" in text for text in texts)

    def test_plain_ids_without_a_key_are_refused(self, released: Released) -> None:
        with pytest.raises(ReleaseError, match=r"plain ids and texts.*PETAR_ID_KEY_FILE"):
            open_gate(released.home, "v1", None)

    def test_a_name_that_nothing_was_accepted_under_is_refused(self, released: Released, tmp_path: Path) -> None:
        with pytest.raises(ReleaseError, match="accepted are März, v1"):
            write_release(released.home, "v2", tmp_path / "out", released.gate)
        with pytest.raises(ReleaseError, match="accepted are März, v1"):
            open_gate(released.home, "v2", KEY)

    def test_a_version_from_before_its_reports_were_masked_is_not_taken_for_masked(self, tmp_path: Path) -> None:
        write_cohort_folder(tmp_path / "cohort")
        home = Home(tmp_path / "home")
        for name, is_masked in (("plain", False), ("masked", True)):
            switches = PrivacySettings(hash_ids=True, mask_reports=is_masked)
            curate_small(home, tmp_path / "cohort", Deidentifier(switches, Pseudonyms(KEY), home.links))
            build_catalog(home)
            accept(home, name, "Dr A")
        with pytest.raises(ReleaseError, match="got one with plain texts"):
            open_gate(home, "plain", None)
        write_release(home, "masked", tmp_path / "out", open_gate(home, "masked", None), formats=("webdataset",))
        texts = b"".join(data for path in (tmp_path / "out").rglob("*.tar") for data in unpacked(path)).lower()
        assert [word for word in PLANTED if word.lower().encode() in texts] == []
        assert b"left axilla with suv max of 9.0" in texts


_RELEASE_AGAIN = """
import os, sys
from pathlib import Path
from pipelines.release.gate import open_gate
from pipelines.release.write import write_release
from pipelines.tables.home import Home
home, name = Home(Path(sys.argv[1])), os.fsencode(sys.argv[2]).decode("utf-8")
write_release(home, name, Path(sys.argv[3]), open_gate(home, name, bytes.fromhex(sys.argv[4])))
"""


def files_of(folder: Path) -> dict[Path, bytes]:
    return {path.relative_to(folder): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


class TestBytes:
    @pytest.mark.parametrize("name", ["v1", "M\u00e4rz"])
    def test_made_again_by_another_process_in_another_zone_and_locale_are_equal(
        self, name: str, released: Released, tmp_path: Path
    ) -> None:
        write_release(released.home, name, tmp_path / "first", released.gate)
        other = {"TZ": "Pacific/Kiritimati", "LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
        arguments = [str(released.home.root), name, str(tmp_path / "again"), KEY.hex()]
        environment = {**os.environ, **other, "PYTHONHASHSEED": "7", "PYTHONPATH": str(ROOT)}
        subprocess.run([sys.executable, "-c", _RELEASE_AGAIN, *arguments], check=True, env=environment, cwd=tmp_path)
        first, again = files_of(tmp_path / "first"), files_of(tmp_path / "again")
        assert first.keys() == again.keys()
        assert [path for path in first if first[path] != again[path]] == []

    def test_verify_names_each_file_that_was_changed_or_lost_or_added(self, released: Released, tmp_path: Path) -> None:
        write_release(released.home, "v1", tmp_path / "out", released.gate)
        assert verify(tmp_path / "out") == []
        files = [p for p in (tmp_path / "out").rglob("*") if p.is_file()]
        for path in files:
            data = path.read_bytes()
            path.write_bytes(data[:-2] + bytes([data[-2] ^ 1]) + data[-1:])
            (said,) = verify(tmp_path / "out")
            assert said.startswith(f"{path.relative_to(tmp_path / 'out')}: was changed")
            path.write_bytes(data)
        files[0].rename(tmp_path / "out" / "more.txt")
        lost = files[0].relative_to(tmp_path / "out")
        if lost.name != CHECKSUMS_NAME:
            assert verify(tmp_path / "out") == [f"{lost}: is missing", "more.txt: is no file of the release"]

    def test_another_folder_is_not_replaced(self, released: Released, tmp_path: Path) -> None:
        (tmp_path / "mine.txt").write_text("x")
        with pytest.raises(ReleaseError, match="other files"):
            write_release(released.home, "v1", tmp_path, released.gate)

    def test_shards_are_begun_anew_where_they_grow(self, released: Released, tmp_path: Path) -> None:
        settings = ProjectSettings(release=ReleaseSettings(shard_mib=0))
        write_release(released.home, "v1", tmp_path / "out", released.gate, settings)
        names = sorted(p.name for p in (tmp_path / "out" / "data" / "exams").iterdir())
        assert names == ["test-00000.parquet", "train-00000.parquet", "train-00001.parquet", "validation-00000.parquet"]
        both = [pl.read_parquet(f / "data" / "lesions" / "*.parquet") for f in (tmp_path / "out", released.folder)]
        assert both[0].drop("mask").equals(both[1].drop("mask"))


class TestLoaders:
    def test_datasets_loads_and_streams_equal_rows_with_images(self, released: Released, tmp_path: Path) -> None:
        datasets = pytest.importorskip("datasets")
        datasets.disable_progress_bars()
        loaded = datasets.load_dataset(str(released.folder), cache_dir=str(tmp_path))
        assert {split: len(rows) for split, rows in loaded.items()} == {"train": 4, "validation": 2, "test": 2}
        rows = [row for split in ("test", "train", "validation") for row in loaded[split].remove_columns("mask")]
        assert rows == released.lesions().drop("mask").to_dicts()
        mask = loaded["train"][0]["mask"]
        assert int(np.asarray(mask.dataobj).sum()) == loaded["train"][0]["n_voxels"]
        stream = datasets.load_dataset(str(released.folder), "exams", split="test", streaming=True)
        (exam,) = list(stream)
        assert exam["pet"].shape == exam["labels"].shape == exam["ct"].shape == (20, 20, 12)
        assert float(np.asarray(exam["pet"].dataobj).max()) == pytest.approx(exam["suv_max"])

    def test_webdataset_gives_each_exam_once_with_equal_members(self, released: Released) -> None:
        webdataset = pytest.importorskip("webdataset")
        samples = {}
        for kind in ("pet_ct", "pet"):
            shards = [str(p) for p in sorted((released.folder / "webdataset" / kind).glob("*.tar"))]
            found = list(webdataset.WebDataset(shards, shardshuffle=False))
            assert len({frozenset(s) - {"__key__"} for s in found}) == 1
            samples |= {s["__key__"]: s for s in found}
        lesions = released.lesions()
        assert sorted(samples) == sorted(lesions["exam_id"].unique())
        for exam_id, sample in samples.items():
            said = json.loads(sample["json"])["lesions"]
            assert said == lesions.filter(exam_id=exam_id).drop("mask").to_dicts()
            labels = np.asarray(nibabel.Nifti1Image.from_bytes(gzip.decompress(sample["labels.nii.gz"])).dataobj)
            assert [int((labels == row["label"]).sum()) for row in said] == [row["n_voxels"] for row in said]

    def test_croissant_is_valid_and_gives_the_rows(self, released: Released) -> None:
        croissant = pytest.importorskip("mlcroissant")
        dataset = croissant.Dataset(jsonld=str(released.folder / "croissant.json"))
        assert not dataset.metadata.ctx.issues.errors
        records = list(dataset.records("lesions"))
        known = {row["lesion_id"]: row for row in released.lesions().to_dicts()}
        assert len(records) == len(known)
        for record in records:
            row = known[record["lesions/lesion_id"].decode()]
            assert record["lesions/suvmax"] == pytest.approx(row["suvmax"])
            assert record["lesions/mask"] == row["mask"]["bytes"]

    def test_nnunet_files_come_back_as_the_same_lesions(self, released: Released, tmp_path: Path) -> None:
        (source,) = (released.folder / "nnunet").iterdir()
        plan = plan_import("nnunet", source, read_mapping("nnunet"))
        assert plan.problems == ()
        splits = released.lesions().filter(pl.col("exam_id").is_in([exam.exam_id for exam in plan.exams]))
        assert {(exam.exam_id, exam.split) for exam in plan.exams} == set(splits.select("exam_id", "split").rows())
        write_cohort(plan, tmp_path / "cohort", "nnunet", source)
        rows = curate_small(Home(tmp_path / "home"), tmp_path / "cohort").read_table("lesions")
        kept = released.lesions().filter(pl.col("exam_id").is_in(rows["exam_id"].unique()))
        columns = ["exam_id", "suvmax", "mtv_ml", "n_voxels", "centroid_x_mm"]
        assert rows.select(columns).sort(columns).rows() == kept.select(columns).sort(columns).rows()

    def test_delta_tables_hold_equal_rows(self, released: Released, tmp_path: Path) -> None:
        deltalake = pytest.importorskip("deltalake")
        write_release(released.home, "v1", tmp_path / "out", released.gate, formats=("parquet", "delta"))
        table = pl.from_arrow(deltalake.DeltaTable(str(tmp_path / "out" / "delta" / "lesions")).to_pyarrow_table())
        ours = released.lesions().drop("mask").sort("lesion_id")
        assert table.sort("lesion_id").to_dicts() == ours.to_dicts()
        assert verify(tmp_path / "out") == []

    def test_a_release_of_one_format_describes_that_alone(self, released: Released, tmp_path: Path) -> None:
        croissant = pytest.importorskip("mlcroissant")
        write_release(released.home, "v1", tmp_path / "out", released.gate, formats=("nnunet",))
        card = (tmp_path / "out" / "README.md").read_text("utf-8")
        assert "`nnunet/`" in card
        assert [word for word in ("configs:", "data/", "webdataset", "delta") if word in card] == []
        assert not croissant.Dataset(jsonld=str(tmp_path / "out" / "croissant.json")).metadata.ctx.issues.errors


class TestRows:
    def test_are_those_of_the_accepted_version(self, released: Released) -> None:
        lesions = Lake(released.home.lake).read_table("lesions")
        columns = ["suvmax", "mtv_ml", "centroid_x_mm", "box_i0"]
        assert released.lesions().select(columns).sort(columns).rows() == lesions.select(columns).sort(columns).rows()

    def test_the_card_tells_splits_evidence_and_biases(self, released: Released) -> None:
        card = (released.folder / "README.md").read_text()
        assert "| train | 2 | 2 | 4 |" in card
        assert "| given mask | a mask that came with the exam | given | composed | 4 |" in card
        assert "do not try to identify anybody" in card

    def test_packing_is_the_same_each_time(self) -> None:
        volume = Volume(body(1), AFFINE)
        assert packed(volume) == packed(volume)
        assert gzip.decompress(packed(volume))[:4] == (348).to_bytes(4, "little")
        assert nibabel.Nifti1Image.from_stream(io.BytesIO(gzip.decompress(packed(volume)))).shape == (20, 20, 12)
