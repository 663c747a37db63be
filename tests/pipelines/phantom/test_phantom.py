"""The phantom cohort against its claims: truth.csv is looked up in the files with other people's readers."""

import csv
import gzip
import hashlib
import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import duckdb
import nibabel
import numpy as np
import pydicom
import pytest
import SimpleITK
from scipy import ndimage

from pipelines.imaging.organ_labels import LABELS
from pipelines.phantom import PhantomCohort, PhantomError, PhantomSettings, add_exam, write_cohort
from pipelines.phantom.acquisition import acquisition_of
from pipelines.phantom.body import draw_patient, draw_varied_patient
from pipelines.phantom.sites import SITES
from pipelines.tables.outcomes import Outcome
from tests.support.paths import ROOT, SHARED

SMALL = PhantomSettings(n_patients=4, n_exams=6, size="small")


@dataclass(frozen=True)
class Image:
    """An image in RAS+ order."""

    array: np.ndarray
    affine: np.ndarray


def read_nifti(path: Path) -> Image:
    image = nibabel.as_closest_canonical(nibabel.load(path))
    return Image(np.asarray(image.dataobj, np.float32), image.affine)


def read_dicom_suv(folder: Path) -> Image:
    """SUVbw of a BQML series by GDCM, with the formula written out again."""
    reader = SimpleITK.ImageSeriesReader()
    series = reader.GetGDCMSeriesIDs(str(folder))
    assert len(series) == 1
    reader.SetFileNames(reader.GetGDCMSeriesFileNames(str(folder), series[0]))
    image = reader.Execute()
    header = pydicom.dcmread(next(iter(sorted(folder.iterdir()))), stop_before_pixels=True)
    drug = header.RadiopharmaceuticalInformationSequence[0]
    seconds = 0.0
    if header.DecayCorrection == "START":
        clock = [
            int(t[:2]) * 3600 + int(t[2:4]) * 60 + int(t[4:6])
            for t in (header.SeriesTime, drug.RadiopharmaceuticalStartTime)
        ]
        seconds = clock[0] - clock[1]
    dose = float(drug.RadionuclideTotalDose) * 2 ** (-seconds / float(drug.RadionuclideHalfLife))
    array = SimpleITK.GetArrayFromImage(image).transpose(2, 1, 0) * (float(header.PatientWeight) * 1000 / dose)
    lps = np.eye(4)
    lps[:3, :3] = np.array(image.GetDirection()).reshape(3, 3) * np.array(image.GetSpacing())
    lps[:3, 3] = image.GetOrigin()
    stored = nibabel.Nifti1Image(array.astype(np.float32), np.diag([-1, -1, 1, 1]) @ lps)
    canonical = nibabel.as_closest_canonical(stored)
    return Image(np.asarray(canonical.dataobj, np.float32), canonical.affine)


def read_exam(cohort: Path, exam_id: str) -> Image:
    folder = cohort / "exams" / exam_id
    nifti = folder / "SUV.nii.gz"
    return read_nifti(nifti) if nifti.exists() else read_dicom_suv(folder / "pet")


def rows_of(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def voxel_at(image: Image, ras_mm: str) -> tuple[int, ...]:
    xyz = np.array([*(float(v) for v in ras_mm.split()), 1.0])
    return tuple(int(v) for v in np.round(np.linalg.inv(image.affine) @ xyz)[:3])


def tree_hash(folder: Path) -> dict[str, str]:
    return {
        str(p.relative_to(folder)): hashlib.sha256(p.read_bytes()).hexdigest()
        for p in sorted(folder.rglob("*"))
        if p.is_file()
    }


@pytest.fixture(scope="module")
def cohort(tmp_path_factory: pytest.TempPathFactory) -> PhantomCohort:
    return write_cohort(tmp_path_factory.mktemp("phantom") / "cohort", SMALL)


@pytest.fixture(scope="module")
def images(cohort: PhantomCohort) -> dict[str, Image]:
    return {e: read_exam(cohort.folder, e) for e in cohort.exam_ids}


@pytest.fixture(scope="module")
def truth(cohort: PhantomCohort) -> list[dict[str, str]]:
    return rows_of(cohort.folder / "truth.csv")


@pytest.fixture(scope="module")
def lesions(truth: list[dict[str, str]]) -> list[dict[str, str]]:
    return [r for r in truth if r["outcome"] == "lesion"]


class TestTruthOfLesions:
    def test_the_voxel_at_the_peak_has_the_reported_suvmax(self, images, lesions):
        off = {
            (r["exam_id"], r["suvmax_reported"]): images[r["exam_id"]].array[
                voxel_at(images[r["exam_id"]], r["peak_ras_mm"])
            ]
            for r in lesions
        }
        assert {k: v for k, v in off.items() if abs(v - float(k[1])) > 0.05} == {}

    def test_the_peak_is_a_local_maximum(self, images, lesions):
        for r in lesions:
            image = images[r["exam_id"]]
            i, j, k = voxel_at(image, r["peak_ras_mm"])
            assert image.array[i, j, k] == image.array[i - 1 : i + 2, j - 1 : j + 2, k - 1 : k + 2].max(), r[
                "lesion_id"
            ]

    def test_the_reported_slice_counted_from_the_head_crosses_the_hot_part_of_the_mask(self, cohort, images, lesions):
        for r in lesions:
            image = images[r["exam_id"]]
            k = image.array.shape[2] - int(r["slice"])
            mask = whole_mask(cohort, image, r["mask"])
            assert image.array[:, :, k][mask[:, :, k]].max() > 0.79 * float(r["suvmax"]), r["lesion_id"]

    def test_the_mask_is_a_box_of_the_pet_grid_that_holds_the_peak(self, cohort, images, lesions):
        for r in lesions:
            image = images[r["exam_id"]]
            assert whole_mask(cohort, image, r["mask"])[voxel_at(image, r["peak_ras_mm"])], r["lesion_id"]

    def test_the_volume_is_that_of_the_mask(self, cohort, lesions):
        for r in lesions:
            mask = nibabel.load(cohort.folder / "truth" / f"{r['mask']}.nii.gz")
            volume_ml = np.asarray(mask.dataobj).sum() * abs(np.linalg.det(mask.affine[:3, :3])) / 1000
            assert float(r["volume_ml"]) == pytest.approx(volume_ml, abs=2e-3)

    def test_the_side_in_words_is_the_side_of_the_peak(self, truth):
        sided = [r for r in truth if r["laterality"] and r["outcome"] in ("lesion", "on the other side")]
        assert sided
        for r in sided:
            assert (float(r["peak_ras_mm"].split()[0]) > 0) == (r["laterality"] == "right"), r["lesion_id"]

    def test_a_sentence_names_its_side_unless_it_is_wrong(self, lesions):
        for r in lesions:
            if r["laterality"] and ";" not in r["sentence"]:
                assert r["laterality"] in r["sentence"].lower()

    def test_no_other_structure_on_the_slice_has_the_same_maximum(self, cohort, images, lesions):
        """Local maxima of the reported value whose component above the published threshold meets the slice."""
        for r in lesions:
            image, suvmax = images[r["exam_id"]], float(r["suvmax_reported"])
            top = (ndimage.maximum_filter(image.array, 3) == image.array) & (np.abs(image.array - suvmax) <= 0.15)
            components, _ = ndimage.label(image.array > 0.617 + 0.316 * suvmax)
            on_slice = np.unique(components[:, :, image.array.shape[2] - int(r["slice"])])
            rivals = top & np.isin(components, on_slice[on_slice > 0]) & ~whole_mask(cohort, image, r["mask"])
            assert np.argwhere(rivals).tolist() == [], r["lesion_id"]

    def test_masks_of_one_exam_do_not_overlap(self, cohort, images, truth):
        for exam_id, image in images.items():
            names = sorted({r["mask"] for r in truth if r["exam_id"] == exam_id and r["mask"]})
            total = sum(whole_mask(cohort, image, name).astype(int) for name in names)
            assert total.max() == 1, exam_id

    def test_every_exam_has_one_to_six(self, cohort, truth):
        counts = {e: len({r["lesion_id"] for r in truth if r["exam_id"] == e and r["organ"]}) for e in cohort.exam_ids}
        assert all(1 <= n <= 6 for n in counts.values()), counts

    def test_a_lesion_is_much_hotter_than_what_lies_around_it(self, cohort, images, lesions):
        for r in lesions:
            image = images[r["exam_id"]]
            mask = whole_mask(cohort, image, r["mask"])
            assert image.array[mask].max() > 1.5 * np.median(
                image.array[ndimage.binary_dilation(mask, iterations=3) & ~mask]
            )


class TestTruthOfRejects:
    def test_what_is_not_in_the_image_is_not_there(self, images, truth):
        absent = [r for r in truth if r["outcome"] == Outcome.NOT_IN_IMAGE]
        assert absent
        for r in absent:
            image, suvmax = images[r["exam_id"]], float(r["suvmax_reported"])
            components, n = ndimage.label(image.array > 0.617 + 0.316 * suvmax)
            on_slice = np.unique(components[:, :, image.array.shape[2] - int(r["slice"])])
            tops = ndimage.maximum(image.array, components, on_slice[on_slice > 0]) if n else []
            assert all(abs(top - suvmax) > 0.2 for top in np.atleast_1d(tops)), r["sentence"]

    def test_a_slice_outside_lies_outside(self, images, truth):
        outside = [r for r in truth if r["outcome"] == Outcome.SLICE_OUTSIDE]
        assert outside
        assert all(int(r["slice"]) > images[r["exam_id"]].array.shape[2] for r in outside)

    def test_the_wrong_side_is_in_the_sentence(self, truth):
        wrong = [r for r in truth if r["outcome"] == Outcome.WRONG_SIDE]
        assert wrong
        assert all(r["laterality"] not in r["sentence"].lower() for r in wrong)

    def test_every_kind_of_reject_is_there(self, truth):
        assert {r["outcome"] for r in truth} == {
            Outcome.LESION, Outcome.TEMPLATE, Outcome.SEVERAL_LESIONS, Outcome.SUV_TOO_LOW, Outcome.NOT_CURRENT,
            Outcome.NOT_IN_IMAGE, Outcome.SLICE_OUTSIDE, Outcome.WRONG_SIDE, Outcome.NO_ANATOMY, Outcome.AMBIGUOUS,
        }  # fmt: skip

    def test_no_pair_of_numbers_is_claimed_twice_in_an_exam(self, truth):
        keys = [(r["exam_id"], r["slice"], r["suvmax_reported"]) for r in truth]
        assert len(keys) == len(set(keys))


class TestReports:
    def test_every_claim_stands_in_its_report(self, cohort, truth):
        findings = {r["exam_id"]: r["findings"] for r in rows_of(cohort.folder / "reports.csv")}
        for r in truth:
            assert r["sentence"] in findings[r["exam_id"]]
            assert r["slice"] in r["sentence"]
            assert r["suvmax_reported"] in r["sentence"]

    def test_some_periods_have_lost_their_space(self, cohort):
        text = " ".join(r["findings"] for r in rows_of(cohort.folder / "reports.csv"))
        assert any(a == "." and b.isupper() for a, b in pairwise(text))

    def test_a_prior_value_is_what_the_earlier_exam_reported(self, cohort, truth):
        reported = {(r["patient_id"], r["lesion_id"], r["exam_id"]): r["suvmax_reported"] for r in truth if r["organ"]}
        second = [
            r for r in truth if r["comparison"] in ("increased", "decreased", "stable") and r["exam_id"] > "PX-0004"
        ]
        assert second
        for r in second:
            earlier = [
                v
                for (p, lesion, e), v in reported.items()
                if (p, lesion) == (r["patient_id"], r["lesion_id"]) and e < r["exam_id"]
            ]
            assert len(earlier) == 1
            ratio = float(r["suvmax_reported"]) / float(earlier[0])
            assert r["comparison"] == ("increased" if ratio > 1.15 else "decreased" if ratio < 0.85 else "stable")

    def test_the_impression_has_no_slices(self, cohort):
        assert not any(
            w in r["impression"] for r in rows_of(cohort.folder / "reports.csv") for w in ("slice", "image", "SUV")
        )


class TestTwins:
    def test_are_two_peaks_of_the_reported_suvmax_on_the_reported_slice(self, cohort, truth, images):
        (row,) = [r for r in truth if r["outcome"] == "ambiguous"]
        image = images[row["exam_id"]].array
        plane = image[:, :, image.shape[2] - int(row["slice"])]
        top = ndimage.maximum_filter(image, 3)[:, :, image.shape[2] - int(row["slice"])]
        peaks = np.argwhere((plane == top) & (np.abs(plane - float(row["suvmax_reported"])) <= 0.05))
        middle = (plane.shape[0] - 1) / 2
        assert len(peaks) == 2
        assert (peaks[0, 0] - middle) * (peaks[1, 0] - middle) < 0, "one on each side"

    def test_are_reported_without_a_side_or_a_mask(self, truth):
        (row,) = [r for r in truth if r["outcome"] == "ambiguous"]
        assert not {"left", "right"} & set(row["sentence"].lower().split())
        assert row["mask"] == row["peak_ras_mm"] == ""


class TestAnatomy:
    @pytest.mark.parametrize(
        ("name", "low_suv", "high_suv"),
        [("liver", 1.5, 2.9), ("brain", 6, 11), ("lung_upper_lobe_right", 0.2, 0.9), ("aorta", 1.0, 2.3)],
    )
    def test_an_organ_of_an_fdg_exam_has_its_uptake(self, cohort, images, name, low_suv, high_suv):
        labels = read_nifti(cohort.folder / "exams" / "PX-0001" / "TOTALSEG.nii.gz")
        inner = ndimage.binary_erosion(labels.array == LABELS[name])
        assert low_suv < np.median(images["PX-0001"].array[inner]) < high_suv

    def test_the_bladder_is_hotter_than_20(self, cohort, images):
        labels = read_nifti(cohort.folder / "exams" / "PX-0001" / "TOTALSEG.nii.gz")
        assert images["PX-0001"].array[labels.array == LABELS["urinary_bladder"]].max() > 15

    @pytest.mark.parametrize(
        ("name", "sign"), [("liver", 1), ("spleen", -1), ("kidney_right", 1), ("kidney_left", -1), ("heart", -1)]
    )
    def test_an_organ_lies_on_its_side(self, cohort, name, sign):
        for exam_id in cohort.exam_ids:
            labels = read_nifti(cohort.folder / "exams" / exam_id / "TOTALSEG.nii.gz")
            center = labels.affine @ [*np.argwhere(labels.array == LABELS[name]).mean(0), 1]
            assert center[0] * sign > 0, exam_id

    def test_labels_are_on_the_pet_grid(self, cohort, images):
        for exam_id, image in images.items():
            labels = read_nifti(cohort.folder / "exams" / exam_id / "TOTALSEG.nii.gz")
            assert labels.array.shape == image.array.shape
            assert np.allclose(labels.affine, image.affine, atol=1e-3)

    def test_the_head_is_up(self, cohort):
        labels = read_nifti(cohort.folder / "exams" / "PX-0001" / "TOTALSEG.nii.gz").array
        heights = [
            np.argwhere(labels == LABELS[n])[:, 2].mean() for n in ("brain", "heart", "liver", "urinary_bladder")
        ]
        assert heights == sorted(heights, reverse=True)

    def test_ct_numbers_of_lung_liver_and_bone(self, cohort):
        ct = read_nifti(cohort.folder / "exams" / "PX-0001" / "CT.nii.gz").array
        labels = read_nifti(cohort.folder / "exams" / "PX-0001" / "TOTALSEG.nii.gz").array
        medians = [np.median(ct[labels == LABELS[n]]) for n in ("lung_lower_lobe_left", "liver", "femur_left")]
        assert medians == pytest.approx([-820, 60, 500], abs=80)

    def test_class_numbers_are_those_of_totalsegmentator_v2(self):
        known = {
            "spleen": 1, "liver": 5, "lung_upper_lobe_left": 10, "urinary_bladder": 21, "vertebrae_L5": 27,
            "vertebrae_T12": 32, "vertebrae_C1": 50, "heart": 51, "aorta": 52, "femur_left": 75, "hip_right": 78,
            "brain": 90, "rib_left_1": 92, "rib_right_12": 115, "sternum": 116,
        }  # fmt: skip
        assert {k: LABELS[k] for k in known} == known

    def test_hosts_of_sites_exist(self):
        assert {s.host for s in SITES if s.host} <= set(LABELS)


class TestFormats:
    def test_stored_axes_are_those_of_the_acquisition(self, cohort):
        for index, exam_id in enumerate(cohort.exam_ids):
            how = acquisition_of("small", index)
            if how.source == "nifti":
                image = nibabel.load(cohort.folder / "exams" / exam_id / "SUV.nii.gz")
                assert "".join(nibabel.aff2axcodes(image.affine)) == how.orientation

    def test_dicom_slopes_differ_by_slice(self, cohort):
        pet = cohort.folder / "exams" / "PX-0002" / "pet"
        slopes = {float(pydicom.dcmread(p, stop_before_pixels=True).RescaleSlope) for p in pet.iterdir()}
        assert len(slopes) > 20

    def test_the_first_dicom_instance_is_the_head(self, cohort):
        pet = cohort.folder / "exams" / "PX-0002" / "pet"
        z = [float(pydicom.dcmread(p, stop_before_pixels=True).ImagePositionPatient[2]) for p in sorted(pet.iterdir())]
        assert z == sorted(z, reverse=True)

    def test_pet_and_ct_series_share_study_and_frame(self, cohort):
        headers = [
            pydicom.dcmread(cohort.folder / "exams" / "PX-0002" / s / "0001.dcm", stop_before_pixels=True)
            for s in ("pet", "ct")
        ]
        assert headers[0].StudyInstanceUID == headers[1].StudyInstanceUID
        assert headers[0].FrameOfReferenceUID == headers[1].FrameOfReferenceUID
        assert headers[0].SeriesInstanceUID != headers[1].SeriesInstanceUID

    def test_a_ct_of_another_grid_shows_the_same_body(self, cohort, images):
        ct = read_nifti(cohort.folder / "exams" / "PX-0003" / "CT.nii.gz")
        labels = read_nifti(cohort.folder / "exams" / "PX-0003" / "TOTALSEG.nii.gz")
        assert ct.array.shape != labels.array.shape
        lung = np.argwhere(ndimage.binary_erosion(labels.array == LABELS["lung_lower_lobe_left"], iterations=2))
        at = np.linalg.inv(ct.affine) @ labels.affine @ np.c_[lung, np.ones(len(lung))].T
        assert np.median(ct.array[tuple(np.round(at[:3]).astype(int))]) == pytest.approx(-820, abs=30)

    def test_one_exam_has_no_ct(self, cohort):
        without = [e for e in cohort.exam_ids if not list((cohort.folder / "exams" / e).rglob("*[cC][tT]*"))]
        assert without == ["PX-0004"]


class TestGolden:
    def test_the_even_cohort_is_drawn_as_ever(self, cohort):
        """Voxels, tables and texts; not how gzip packs them."""
        drawn = hashlib.sha256()
        for path in sorted(cohort.folder.rglob("*")):
            if path.is_file() and path.name != "phantom.json":
                content = path.read_bytes()
                drawn.update(str(path.relative_to(cohort.folder)).encode())
                drawn.update(gzip.decompress(content) if path.suffix == ".gz" else content)
        assert drawn.hexdigest() == "338b1c8e65abea81e2b1780f7801d8c09418fa4e39d3a98ef147a2b7c6f968a0"


class TestWriteCohort:
    def test_equal_seed_gives_byte_equal_files(self, cohort, tmp_path):
        again = write_cohort(tmp_path / "again", SMALL)
        assert tree_hash(again.folder) == tree_hash(cohort.folder)

    def test_another_seed_gives_another_cohort(self, cohort, tmp_path):
        other = write_cohort(tmp_path / "other", PhantomSettings(n_patients=1, n_exams=1, seed=1, size="small"))
        assert (other.folder / "truth.csv").read_text() != (cohort.folder / "truth.csv").read_text()

    def test_an_equal_cohort_is_not_written_again(self, cohort):
        before = {p: p.stat().st_mtime_ns for p in cohort.folder.rglob("*")}
        again = write_cohort(cohort.folder, SMALL)
        assert not again.written
        assert (again.n_exams, again.n_lesions) == (cohort.n_exams, cohort.n_lesions)
        assert {p: p.stat().st_mtime_ns for p in cohort.folder.rglob("*")} == before

    def test_another_cohort_replaces_an_older_one_whole(self, tmp_path):
        write_cohort(tmp_path / "c", PhantomSettings(2, 2, size="small"))
        write_cohort(tmp_path / "c", PhantomSettings(1, 1, size="small"))
        assert [p.name for p in (tmp_path / "c" / "exams").iterdir()] == ["PX-0001"]
        assert [p.name for p in tmp_path.iterdir()] == ["c"]

    def test_a_folder_with_other_things_is_refused_and_left_alone(self, tmp_path):
        (tmp_path / "notes.txt").write_text("mine")
        with pytest.raises(PhantomError, match="choose another folder"):
            write_cohort(tmp_path, SMALL)
        assert [p.name for p in tmp_path.iterdir()] == ["notes.txt"]

    def test_fewer_exams_than_patients_are_refused(self):
        with pytest.raises(PhantomError, match="5 patients and 3 exams"):
            PhantomSettings(n_patients=5, n_exams=3)

    def test_counts_are_those_of_the_files(self, cohort, truth):
        assert cohort.n_exams == len(list((cohort.folder / "exams").iterdir())) == 6
        assert cohort.n_lesions == sum(r["outcome"] == "lesion" for r in truth)
        assert cohort.n_patients == len({r["patient_id"] for r in truth}) == 4


@pytest.fixture
def copied(cohort: PhantomCohort, tmp_path: Path) -> Callable[[str], Path]:
    def copy(name: str) -> Path:
        return Path(shutil.copytree(cohort.folder, tmp_path / name))

    return copy


class TestAddExam:
    def test_it_appends_an_exam_with_report_and_truth_and_touches_no_other(self, copied):
        folder = copied("a")
        before = tree_hash(folder / "exams")
        exam_id = add_exam(folder)
        assert exam_id == "PX-0007"
        after = tree_hash(folder / "exams")
        assert {k: v for k, v in after.items() if not k.startswith(exam_id)} == before
        assert rows_of(folder / "reports.csv")[-1]["exam_id"] == exam_id
        assert {r["exam_id"] for r in rows_of(folder / "truth.csv")} >= {exam_id, "PX-0001"}

    def test_it_gives_the_same_files_every_time(self, copied):
        first, second = copied("a"), copied("b")
        add_exam(first), add_exam(second)
        assert tree_hash(first) == tree_hash(second)

    def test_a_known_patient_gets_the_next_visit(self, copied):
        folder = copied("a")
        exam_id = add_exam(folder, patient_id="P000003")
        rows = {r["exam_id"]: r for r in rows_of(folder / "reports.csv")}
        assert rows[exam_id]["patient_id"] == "P000003"
        assert rows[exam_id]["study_date"] > rows["PX-0003"]["study_date"]

    def test_writing_the_same_cohort_again_keeps_the_added_exam(self, copied):
        folder = copied("a")
        exam_id = add_exam(folder)
        assert exam_id in write_cohort(folder, SMALL).exam_ids

    def test_an_unknown_patient_is_refused(self, copied):
        with pytest.raises(PhantomError, match="P999999"):
            add_exam(copied("a"), patient_id="P999999")

    def test_a_folder_that_is_no_phantom_is_refused(self, tmp_path):
        with pytest.raises(PhantomError, match=r"phantom\.json"):
            add_exam(tmp_path)


@pytest.fixture(scope="module")
def faulty(tmp_path_factory: pytest.TempPathFactory) -> Path:
    settings = PhantomSettings(n_patients=1, n_exams=1, size="small", with_faults=True)
    return write_cohort(tmp_path_factory.mktemp("faults") / "c", settings).folder


class TestFaults:
    def test_an_exam_folder_is_empty(self, faulty):
        assert list((faulty / "exams" / "PX-EMPTY").iterdir()) == []

    def test_a_pet_has_no_dose(self, faulty):
        header = pydicom.dcmread(faulty / "exams" / "PX-NODOSE" / "pet" / "0001.dcm")
        assert "RadionuclideTotalDose" not in header.RadiopharmaceuticalInformationSequence[0]

    def test_an_image_is_truncated(self, faulty):
        with pytest.raises(EOFError):
            np.asarray(nibabel.load(faulty / "exams" / "PX-TRUNC" / "SUV.nii.gz").dataobj)

    def test_a_report_has_no_exam_and_an_exam_no_report(self, faulty):
        reported = {r["exam_id"] for r in rows_of(faulty / "reports.csv")}
        present = {p.name for p in (faulty / "exams").iterdir()}
        assert reported - present == {"PX-UNKNOWN"}
        assert present - reported == {"PX-NOREPORT"}

    def test_the_truth_does_not_speak_of_them(self, faulty):
        assert {r["exam_id"] for r in rows_of(faulty / "truth.csv")} == {"PX-0001"}


class TestCommandLine:
    def test_it_prints_one_line_and_a_second_call_writes_nothing(self, tmp_path):
        call = [
            sys.executable,
            "-m",
            "pipelines.phantom",
            str(tmp_path / "c"),
            "--exams",
            "1",
            "--patients",
            "1",
            "--size",
            "small",
        ]
        first = subprocess.run(call, cwd=ROOT, capture_output=True, text=True, check=True)
        second = subprocess.run(call, cwd=ROOT, capture_output=True, text=True, check=True)
        assert first.stdout.count("\n") == second.stdout.count("\n") == 1
        assert "written: 1 exams of 1 patients" in first.stdout
        assert "already there, unchanged" in second.stdout

    def test_a_wrong_setting_gives_one_line_and_exit_code_1(self, tmp_path):
        call = [sys.executable, "-m", "pipelines.phantom", str(tmp_path / "c"), "--exams", "1", "--patients", "2"]
        done = subprocess.run(call, cwd=ROOT, capture_output=True, text=True, check=False)
        assert done.returncode == 1
        assert done.stderr.startswith("phantom: expected at least one patient")


class TestScoring:
    def test_a_perfect_curation_scores_perfectly(self, cohort, lesions, tmp_path):
        """The shared scorer reads this truth: fed with the truth itself it must find nothing wrong."""
        tool = SHARED / "tools" / "score_curation.py"
        if not tool.exists():
            pytest.skip("needs the folder shared beside the checkout")
        con = duckdb.connect(str(tmp_path / "petar.duckdb"))
        con.execute(
            "create table lesions (exam_id varchar, slice int, suvmax_reported double, suvmax double, peak_x_mm double,"
            " peak_y_mm double, peak_z_mm double, mask_path varchar, mtv_ml double)"
        )
        for r in lesions:
            peak = [float(v) for v in r["peak_ras_mm"].split()]
            mask = str(cohort.folder / "truth" / f"{r['mask']}.nii.gz")
            values = [
                r["exam_id"],
                int(r["slice"]),
                float(r["suvmax_reported"]),
                float(r["suvmax"]),
                *peak,
                mask,
                float(r["volume_ml"]),
            ]
            con.execute("insert into lesions values (?, ?, ?, ?, ?, ?, ?, ?, ?)", values)
        con.close()
        scored = subprocess.run([sys.executable, tool, tmp_path, cohort.folder], capture_output=True, text=True)
        assert scored.returncode == 0, scored.stdout + scored.stderr


def whole_mask(cohort: PhantomCohort, image: Image, name: str) -> np.ndarray:
    """A stored box put back on the PET's grid by its own affine."""
    stored = nibabel.load(cohort.folder / "truth" / f"{name}.nii.gz")
    assert np.allclose(stored.affine[:3, :3], image.affine[:3, :3], atol=1e-3)
    start = np.round(np.linalg.inv(image.affine) @ stored.affine[:, 3])[:3].astype(int)
    mask = np.zeros(image.array.shape, bool)
    mask[tuple(slice(s, s + n) for s, n in zip(start, stored.shape))] = np.asarray(stored.dataobj) > 0
    return mask


def test_the_marker_names_settings_and_code(cohort):
    marker = json.loads((cohort.folder / "phantom.json").read_text())
    assert marker["settings"]["seed"] == 0
    assert len(marker["code_version"]) == 16


class TestVariedBodies:
    def test_differ_in_build_and_field_of_view_and_are_reported_as_the_others(self, tmp_path):
        cohort = write_cohort(tmp_path / "c", PhantomSettings(4, 4, seed=0, size="varied"))
        lesions = [row for row in rows_of(cohort.folder / "truth.csv") if row["outcome"] == "lesion"]
        images = {exam: read_exam(cohort.folder, exam) for exam in cohort.exam_ids}
        lengths_mm = [image.array.shape[2] * abs(image.affine[2, 2]) for image in images.values()]
        assert max(lengths_mm) - min(lengths_mm) > 100
        assert {row["exam_id"] for row in lesions} == set(cohort.exam_ids)
        for row in lesions:
            found = images[row["exam_id"]].array[voxel_at(images[row["exam_id"]], row["peak_ras_mm"])]
            assert found == pytest.approx(float(row["suvmax_reported"]), abs=0.05)

    def test_come_after_the_usual_patients_and_are_the_same_by_any_number_of_processes(self, tmp_path):
        settings = PhantomSettings(1, 2, size="small", n_varied=2)
        one, two = (write_cohort(tmp_path / str(n), settings, workers=n) for n in (1, 2))
        assert (one.n_exams, one.n_patients) == (4, 3)
        files = [path.relative_to(one.folder) for path in sorted(one.folder.rglob("*")) if path.is_file()]
        assert [path for path in files if (one.folder / path).read_bytes() != (two.folder / path).read_bytes()] == []
        assert files == [path.relative_to(two.folder) for path in sorted(two.folder.rglob("*")) if path.is_file()]
        usual = write_cohort(tmp_path / "usual", PhantomSettings(1, 2, size="small"))
        assert usual.exam_ids == one.exam_ids[:2]
        assert all(
            (usual.folder / path).read_bytes() == (one.folder / path).read_bytes()
            for path in files
            if path.parts[0] == "exams" and path.parts[1] in usual.exam_ids
        )

    def test_differ_more_in_build_than_the_usual_ones(self):
        rng = np.random.default_rng(0)
        usual, varied = (
            np.array([draw(f"P{n}", rng).scale for n in range(40)]) for draw in (draw_patient, draw_varied_patient)
        )
        assert (varied.std(axis=0) > 1.3 * usual.std(axis=0)).all()
