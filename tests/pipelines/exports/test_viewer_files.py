"""Exports of a small phantom: what viewers get, and what a second call does not write again."""

import shutil
from pathlib import Path

import nibabel
import numpy as np
import polars as pl
import pydicom
import pytest

from pipelines.exports.viewer_files import export_lesions
from pipelines.settings import ExportSettings
from pipelines.tables.home import Home
from pipelines.tables.lake import Lake
from pipelines.tables.shards import shard_of


def lesions_of(home: Home) -> pl.DataFrame:
    return Lake(home.lake).read_table("lesions").filter(pl.col("outcome") == "lesion")


class TestAnExport:
    def test_labels_every_lesion_with_as_many_voxels_as_its_row_says(self, home: Home, exams: Path) -> None:
        summary = export_lesions(home, exams, ExportSettings(dicom_seg=False))
        assert summary.lesions == lesions_of(home).height > 3
        for exam_id, own in lesions_of(home).group_by("exam_id"):
            folder = home.exports / str(exam_id[0])
            image = nibabel.load(folder / "lesions.nii.gz")
            table = pl.read_csv(folder / "lesions.csv").join(own, on="finding_id", suffix="_row")
            counts = np.bincount(np.asarray(image.dataobj).ravel(), minlength=own.height + 1)
            for row in table.iter_rows(named=True):
                # Of two lesions that overlap the later label wins.
                assert counts[row["label"]] == row["n_voxels"] or row["shares_with"]

    def test_makes_a_seg_of_every_exam_that_came_as_dicom_and_of_no_other(self, home: Home, exams: Path) -> None:
        export_lesions(home, exams, ExportSettings())
        table = Lake(home.lake).read_table("exams")
        for exam_id, own in lesions_of(home).group_by("exam_id"):
            source = table.filter(pl.col("exam_id") == exam_id[0])["source"].item()
            path = home.exports / str(exam_id[0]) / "lesions.dcm"
            assert path.is_file() == (source == "dicom")
            if path.is_file():
                labels = [s.SegmentLabel for s in pydicom.dcmread(path).SegmentSequence]
                assert labels == pl.read_csv(path.with_name("lesions.csv"))["name"].str.slice(0, 64).to_list()
                assert len(labels) == own.height

    def test_names_the_place_suvmax_and_slice(self, home: Home, exams: Path) -> None:
        export_lesions(home, exams, ExportSettings(dicom_seg=False))
        row = lesions_of(home).sort("exam_id", "slice", "finding_id").row(0, named=True)
        name = pl.read_csv(home.exports / row["exam_id"] / "lesions.csv")["name"][0]
        assert name.startswith("1 ")
        assert name.endswith(f", SUVmax {row['suvmax_reported']:g}, slice {row['slice']}")


class TestASecondCall:
    def test_writes_nothing_again(self, home: Home, exams: Path) -> None:
        first = export_lesions(home, exams, ExportSettings(dicom_seg=False))
        times = {p: p.stat().st_mtime_ns for p in home.exports.rglob("*")}
        second = export_lesions(home, exams, ExportSettings(dicom_seg=False))
        assert (second.exported, second.reused) == (0, first.exported)
        assert {p: p.stat().st_mtime_ns for p in home.exports.rglob("*")} == times

    def test_removes_the_exam_whose_lesions_are_gone_and_no_foreign_folder(self, home: Home, exams: Path) -> None:
        export_lesions(home, exams, ExportSettings(dicom_seg=False))
        (home.exports / "mine").mkdir()
        gone = lesions_of(home)["exam_id"][0]
        lake = Lake(home.lake)
        shard = shard_of(lesions_of(home).filter(pl.col("exam_id") == gone)["patient_id"][0])
        rest = lake.read_shard("lesions", shard).filter(pl.col("exam_id") != gone)
        lake.write_shard("lesions", shard, rest, inputs={})
        assert export_lesions(home, exams, ExportSettings(dicom_seg=False)).removed == 1
        assert not (home.exports / gone).exists()
        assert (home.exports / "mine").is_dir()

    def test_takes_the_seg_away_where_it_is_switched_off(self, home: Home, exams: Path) -> None:
        export_lesions(home, exams, ExportSettings())
        summary = export_lesions(home, exams, ExportSettings(dicom_seg=False))
        assert summary.exported == 1
        assert not list(home.exports.rglob("*.dcm"))


class TestAnExamThatCannotBeExported:
    def test_is_named_and_the_others_are_there(self, home: Home, exams: Path) -> None:
        broken = lesions_of(home).row(0, named=True)
        (home.root / broken["mask_path"]).unlink()
        summary = export_lesions(home, exams, ExportSettings(dicom_seg=False))
        assert list(summary.failed) == [broken["exam_id"]]
        assert not (home.exports / broken["exam_id"]).exists()
        assert summary.exported == lesions_of(home)["exam_id"].n_unique() - 1


class TestASeriesThatASegCannotReferTo:
    @pytest.fixture
    def own_exams(self, home: Home, exams: Path, tmp_path: Path) -> Path:
        """The exams' files, to be changed, where nothing says where else they lie."""
        shutil.rmtree(home.manifest)
        return Path(shutil.copytree(exams, tmp_path / "exams"))

    def change(self, exams: Path, **attributes: object) -> None:
        for path in exams.rglob("*"):
            if path.is_file() and path.read_bytes()[128:132] == b"DICM":
                dataset = pydicom.dcmread(path)
                for keyword, value in attributes.items():
                    setattr(dataset, keyword, value)
                dataset.save_as(path)

    def test_costs_neither_label_map_nor_table(self, home: Home, own_exams: Path) -> None:
        self.change(own_exams, FrameOfReferenceUID="")
        summary = export_lesions(home, own_exams, ExportSettings())
        (reason,) = summary.failed.values()
        assert "no FrameOfReferenceUID (0020,0052)" in reason
        assert summary.exported == lesions_of(home)["exam_id"].n_unique()
        assert len(list(home.exports.glob("*/lesions.nii.gz"))) == len(list(home.exports.glob("*/lesions.csv")))
        assert not list(home.exports.rglob("*.dcm"))

    @pytest.mark.parametrize("characters", [["", "ISO 2022 IR 87"], "ISO_IR 999"])
    def test_any_character_set_gives_a_seg(self, home: Home, own_exams: Path, characters: object) -> None:
        self.change(own_exams, SpecificCharacterSet=characters, PatientName="YAMADA^TAROU")
        assert not export_lesions(home, own_exams, ExportSettings(keep_identity=True)).failed
        assert {str(pydicom.dcmread(p).PatientName) for p in home.exports.rglob("*.dcm")} == {"YAMADA^TAROU"}
