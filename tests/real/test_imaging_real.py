"""The imaging core on real exams and published reference objects, in the folder `shared` beside the checkout."""

import csv
import json
import tarfile
from pathlib import Path

import numpy as np
import pytest
from pydicom.dataset import Dataset
from scipy import ndimage

from pipelines.imaging.lesions.contour import contour
from pipelines.imaging.lesions.find_lesions import LesionRequest, find_lesions
from pipelines.imaging.lesions.measures import energy, global_peak, local_peak, measure, mesh_volume_ml
from pipelines.imaging.lesions.region import StopReason
from pipelines.imaging.problems import ExamError
from pipelines.imaging.reading.dicom import find_series
from pipelines.imaging.reading.exam import read_exam
from pipelines.imaging.reading.stack import read_stack, stack_of
from pipelines.imaging.reading.suv import suv_scale
from pipelines.imaging.volume import Volume, load_nifti
from pipelines.settings import ContourSettings, LesionSettings
from pipelines.tables.exam_problems import ExamProblem
from pipelines.tables.outcomes import Outcome
from tests.support.paths import SHARED

pytestmark = [pytest.mark.real, pytest.mark.skipif(not (SHARED / "data").is_dir(), reason="no folder shared")]

TOLERANCE = {"DRO_2_3": 0.03}


def dro_names() -> list[str]:
    table = SHARED / "data" / "suv-dro" / "DRO_list.csv"
    return [r["ID"] for r in csv.DictReader(table.open(encoding="utf-8"))] if table.is_file() else []


def vendor_cases() -> list[tuple[str, float]]:
    table = SHARED / "data" / "suv-vendor-metadata" / "expected_suvbw_factors.csv"
    return [(r["file"], float(r["suvbw_factor"])) for r in csv.DictReader(table.open())] if table.is_file() else []


def truth() -> list[dict[str, str]]:
    table = SHARED / "cohorts" / "real" / "truth.csv"
    return list(csv.DictReader(table.open())) if table.is_file() else []


def _extract(archive: tarfile.TarFile, folder: Path) -> None:
    # Python 3.11 before 3.11.4 knows no filters.
    archive.extractall(folder, **({"filter": "data"} if hasattr(tarfile, "data_filter") else {}))


@pytest.fixture(scope="module")
def dro(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("dro")
    with tarfile.open(SHARED / "data" / "suv-dro" / "DRO.tar.xz") as archive:
        _extract(archive, folder)
    return folder / "DRO"


@pytest.mark.parametrize("name", dro_names())
def test_reference_object_gives_its_suv(dro, name):
    exam = read_exam(dro / name / "PT", name)
    mask = load_nifti(next((dro / name / "mask").iterdir()))
    inside = exam.suv.array[mask.array > 0]
    assert inside.size > 0
    tolerance = TOLERANCE.get(name, 0.005)
    assert [inside.min(), np.median(inside), inside.max()] == pytest.approx([0.2, 1.0, 4.0], abs=tolerance)


def test_reference_object_has_its_hot_region(dro):
    exam = read_exam(dro / "DRO_0_0" / "PT", "DRO_0_0")
    hot = exam.suv.array > 3.9
    assert int(hot.sum()) * exam.suv.voxel_ml == pytest.approx(32.96)


@pytest.mark.parametrize(("name", "expected"), vendor_cases())
def test_vendor_case_gives_its_factor(name, expected):
    instances = json.loads((SHARED / "data" / "suv-vendor-metadata" / f"{name}-instances.json").read_text())
    datasets = []
    for instance in instances:
        dataset, item = Dataset(), Dataset()
        for key, value in instance.items():
            if key == "PhilipsPETPrivateGroup":
                for field, tag in (("SUVScaleFactor", 0x1000), ("ActivityConcentrationScaleFactor", 0x1009)):
                    if field in value:
                        dataset.add_new((0x7053, tag), "DS", value[field])
            else:
                setattr(item if key.startswith("Radio") else dataset, key, value)
        dataset.RescaleSlope, dataset.RescaleIntercept = 1, 0
        dataset.RadiopharmaceuticalInformationSequence = [item]
        datasets.append(dataset)
    assert suv_scale(datasets).factors == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("name", ["pet_recon_1", "pet_recon_2"])
def test_phantom_without_units_is_refused(tmp_path, name):
    with tarfile.open(SHARED / "data" / "nema-iq" / "data.tar.xz") as archive:
        _extract(archive, tmp_path)
    with pytest.raises(ExamError, match="0054,1001") as caught:
        read_exam(tmp_path / "data" / name, name)
    assert caught.value.problem is ExamProblem.MISSING_TAG


def test_digital_phantom_has_the_values_of_ibsi():
    folder = SHARED / "data" / "ibsi-digital-phantom"
    image = load_nifti(folder / "nifti" / "image" / "phantom.nii.gz")
    mask = load_nifti(folder / "nifti" / "mask" / "mask.nii.gz").array > 0
    rows = csv.reader((folder / "reference_values.csv").open(), delimiter=";")
    reference = {tag: (float(v), float(t)) for v, t, tag in list(rows)[1:] if v}
    m, ijk = measure(image, mask, (0, 0, 0)), np.argwhere(mask)
    got = {
        "morph_vol_approx": m.mtv_ml * 1000,
        "morph_volume": mesh_volume_ml(mask, image.spacing_mm) * 1000,
        "morph_diam": m.diameter_mm,
        "stat_mean": m.suvmean,
        "stat_max": m.suvmax,
        "loc_peak_loc": local_peak(image, ijk),
        "loc_peak_glob": global_peak(image, ijk),
        "stat_energy": energy(image.array[mask]),
    }
    assert m.suvpeak == got["loc_peak_glob"]
    for tag, value in got.items():
        expected, tolerance = reference[tag]
        # Where the tolerance is 0, the reference is rounded to three digits.
        assert value == pytest.approx(expected, abs=max(tolerance, 0.005 * expected)), tag


@pytest.mark.parametrize("exam_id", sorted({r["exam_id"] for r in truth()}))
def test_real_exam_has_its_lesions_where_they_are(exam_id):
    folder = SHARED / "cohorts" / "real"
    rows = [r for r in truth() if r["exam_id"] == exam_id and r["outcome"] in ("lesion", "not in the image")]
    suv = read_exam(folder / "exams" / exam_id, exam_id).suv
    requests = [
        LesionRequest(f"{exam_id}:{n}", "", int(r["slice"]), float(r["suvmax_reported"])) for n, r in enumerate(rows)
    ]
    for row, result in zip(rows, find_lesions(suv, requests, LesionSettings())):
        assert result.outcome == Outcome(row["outcome"]), row
        if result.measures is not None and row["peak_ras_mm"]:
            m = result.measures
            peak = np.array([m.peak_x_mm, m.peak_y_mm, m.peak_z_mm])
            assert np.linalg.norm(peak - np.array(row["peak_ras_mm"].split(), dtype=float)) <= 6.0
            assert m.suvmax == pytest.approx(float(row["suvmax_reported"]), abs=0.1)


@pytest.mark.parametrize("name", ["pet_recon_1", "pet_recon_2"])
def test_spheres_of_a_scanned_phantom_have_their_volume(tmp_path, name):
    """NEMA image-quality phantom as plain activity: hot spheres with walls, a real point spread, noise and lung
    insert."""
    with tarfile.open(SHARED / "data" / "nema-iq" / "data.tar.xz") as archive:
        _extract(archive, tmp_path)
    stack = stack_of(find_series(tmp_path / "data" / name)[0])
    activity = read_stack(stack, np.array([float(d.RescaleSlope) for d in stack.datasets]))
    background = float(np.median(activity.array[activity.array > 0.3 * np.percentile(activity.array, 95)]))
    image = Volume((activity.array / background).astype(np.float32), activity.affine)
    labels, count = ndimage.label(ndimage.gaussian_filter(image.array, 1.0) > 2.2)
    volumes = []
    for n in range(1, count + 1):
        if (labels == n).sum() < 8:
            continue
        at = np.unravel_index(int(np.where(labels == n, image.array, 0).argmax()), image.shape)
        made = contour(image, (int(at[0]), int(at[1]), int(at[2])), np.empty((0, 3), dtype=np.int64), ContourSettings())
        assert made.stop_reason is StopReason.CONVERGED
        volumes.append(made.mask.sum() * image.voxel_ml)
    truth_ml = np.array([26.52, 11.49, 5.58, 2.57, 1.15, 0.52])
    assert len(volumes) == 6
    error = np.sort(volumes)[::-1] / truth_ml - 1
    assert np.abs(error[:4]).max() < 0.20
    assert np.abs(error[4:]).max() < 0.5
