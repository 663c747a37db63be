"""Cohorts on disk: exams, reports and truth, written atomically and never twice."""

import csv
import json
import os
import shutil
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass, replace
from datetime import date, datetime, time, timedelta
from itertools import repeat
from multiprocessing import get_context
from pathlib import Path
from typing import Literal

import numpy as np
import pydicom
from numpy.typing import NDArray

from pipelines.phantom.acquisition import Frame, acquisition_of, beside, draw_acquisition
from pipelines.phantom.body import Floats, draw_patient, draw_varied_patient, paint
from pipelines.phantom.exam import EarlierExam, PhantomExam, Visit, make_exam, organ_at, study_date_of
from pipelines.phantom.exam_files import (
    HALF_LIFE_S,
    Injection,
    Study,
    csv_bytes,
    nifti_bytes,
    write_ct_dicom,
    write_pet_dicom,
)
from pipelines.phantom.hard.exam import HardVisit, make_hard_exam
from pipelines.phantom.hard.settings import HardSettings, Workstation
from pipelines.phantom.report import DECOYS
from pipelines.phantom.tumours import shape_on
from pipelines.tables import atomic
from pipelines.tables.provenance import code_version
from pipelines.tables.safe_text import error_reason

MARKER = "phantom.json"
REPORT_COLUMNS = ("exam_id", "patient_id", "findings", "impression", "study_date", "tracer")
TRUTH_COLUMNS = (
    "exam_id",
    "slice",
    "suvmax_reported",
    "outcome",
    "peak_ras_mm",
    "mask",
    "patient_id",
    "lesion_id",
    "region",
    "organ",
    "subsite",
    "laterality",
    "comparison",
    "suvmax",
    "volume_ml",
    "touches",
    "near_hot",
    "necrotic",
    "totalseg_class",
    "sentence",
)
FAULTS = {
    "PX-EMPTY": "an empty exam folder",
    "PX-NODOSE": "a PET without its dose",
    "PX-TRUNC": "a truncated SUV.nii.gz",
    "PX-UNKNOWN": "a report of an exam that is not there",
    "PX-NOREPORT": "an exam without a report",
}


_VARIED_LESIONS = (3, 9)
"""Lesions of a varied exam, fewest and most: an exam costs its image, and lesions are what a model learns from."""
TWINS_EVERY = 6
"""In the third exam of every six there are two lesions that a sentence does not tell apart."""


class PhantomError(ValueError):
    """The cohort cannot be written there or so; the message says what to do."""


@dataclass(frozen=True)
class PhantomSettings:
    """What a cohort is made from: equal settings give byte-equal files."""

    n_patients: int = 16
    n_exams: int = 24
    seed: int = 0
    size: Literal["demo", "small", "varied"] = "demo"
    with_faults: bool = False
    hard: HardSettings | None = None
    """Hard exams, drawn with these settings, and not the even ones of `size`."""
    n_varied: int = 0
    """Further patients with an exam each, drawn as those of size `varied`."""

    def __post_init__(self) -> None:
        if self.n_patients < 1 or self.n_exams < self.n_patients:
            raise PhantomError(
                f"expected at least one patient and at least one exam a patient, got {self.n_patients} patients "
                f"and {self.n_exams} exams"
            )
        if self.size not in ("demo", "small", "varied"):
            raise PhantomError(f"expected the size demo, small or varied, got {self.size!r}")


SMALL = PhantomSettings(n_patients=4, n_exams=6, size="small")
"""The cohort of the tests: 6 exams of 4 patients on coarse grids."""


@dataclass(frozen=True)
class PhantomCohort:
    """A cohort on disk, as counts and paths. `written` is False where an equal one was there already."""

    folder: Path
    settings: PhantomSettings
    n_exams: int
    n_patients: int
    n_lesions: int
    n_rejects: int
    exam_ids: tuple[str, ...]
    written: bool

    def summary(self) -> str:
        """One line for the terminal."""
        how = "written" if self.written else "already there, unchanged"
        return (
            f"phantom cohort {how}: {self.n_exams} exams of {self.n_patients} patients, {self.n_lesions} reported "
            f"lesions, {self.n_rejects} claims to reject, in {self.folder}"
        )


def write_cohort(folder: Path, settings: PhantomSettings | None = None, workers: int = 1) -> PhantomCohort:
    """Writes a phantom cohort into `folder` and returns its counts; an equal cohort that is there already is left as
    it is.

    The folder then holds `reports.csv`, `exams/<exam_id>/`, `truth.csv`, `truth/<mask>.nii.gz` and the marker
    `phantom.json`. An older phantom cohort is replaced; anything else in the folder raises PhantomError. `workers`:
    processes that draw patients side by side; the files are the same whatever their number.
    """
    settings = settings or PhantomSettings()
    folder = Path(folder)
    marker = _read_marker(folder)
    if (
        marker is not None
        and marker["settings"] == json.loads(json.dumps(asdict(settings)))
        and marker["code_version"] == code_version(__name__)
    ):
        return _describe(folder, marker, written=False)
    if marker is None and folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise PhantomError(
            f"expected a new or empty folder, or an earlier phantom cohort, got {folder}: choose another folder"
        )
    building = folder.with_name(f".{folder.name}.{os.getpid()}.building")
    shutil.rmtree(building, ignore_errors=True)
    building.mkdir(parents=True)
    try:
        reports: list[dict[str, str]] = []
        truths: list[dict[str, str]] = []
        for rows in _written_exams(building, settings, workers):
            reports.append(rows.report)
            truths.extend(rows.truths)
        if settings.with_faults:
            reports.extend(_write_faults(building, settings))
        (building / "reports.csv").write_bytes(csv_bytes(REPORT_COLUMNS, reports))
        (building / "truth.csv").write_bytes(csv_bytes(TRUTH_COLUMNS, truths))
        marker = {"settings": asdict(settings), "code_version": code_version(__name__), "added": []}
        marker |= _counts(reports, truths)
        _write_marker(building, marker)
        if folder.exists():
            old = folder.with_name(f".{folder.name}.{os.getpid()}.old")
            folder.rename(old)
            building.rename(folder)
            shutil.rmtree(old)
        else:
            folder.parent.mkdir(parents=True, exist_ok=True)
            building.rename(folder)
    finally:
        shutil.rmtree(building, ignore_errors=True)
    return _describe(folder, marker, written=True)


@dataclass(frozen=True)
class _Rows:
    """Rows of an exam in the tables of its cohort."""

    index: int
    report: dict[str, str]
    truths: list[dict[str, str]]


def _written_exams(folder: Path, settings: PhantomSettings, workers: int) -> list[_Rows]:
    """Rows of the exams of a cohort in their order, once their files are written."""
    patients = sorted({patient for _, patient, _ in _schedule(settings)})
    if workers <= 1:
        found = [_write_patient(folder, settings, patient) for patient in patients]
    else:
        # Forked processes could inherit a lock of another thread.
        with ProcessPoolExecutor(workers, get_context("forkserver")) as pool:
            found = list(pool.map(_write_patient, repeat(folder), repeat(settings), patients))
    return sorted((rows for of_patient in found for rows in of_patient), key=lambda rows: rows.index)


def _write_patient(folder: Path, settings: PhantomSettings, patient_index: int) -> list[_Rows]:
    """Rows of a patient's exams, once their files are written."""
    found: list[_Rows] = []
    earlier: EarlierExam | None = None
    for index, patient, visit in _schedule(settings):
        if patient == patient_index:
            exam = _make(settings, index, patient, visit, earlier)
            earlier = EarlierExam.of(exam)
            _write_exam(folder, exam)
            found.append(_Rows(index, _report_row(exam), _write_truth(folder, exam)))
    return found


def draw_exams(settings: PhantomSettings) -> Iterator[PhantomExam]:
    """The exams of a cohort, one after the other, without writing them."""
    earlier: dict[int, EarlierExam] = {}
    for index, patient_index, visit in _schedule(settings):
        exam = _make(settings, index, patient_index, visit, earlier.get(patient_index))
        earlier[patient_index] = EarlierExam.of(exam)
        yield exam


def ct_of(exam: PhantomExam) -> NDArray[np.float32]:
    """HU of an exam's CT on the grid of its PET, whole numbers."""
    return _ct(exam, exam.frame, exam.painted.hu)


def add_exam(folder: Path, patient_id: str | None = None) -> str:
    """Appends one more exam with its report and truth to a phantom cohort and returns its exam id.

    Without `patient_id` it is the first exam of a new patient; with one, that patient's next visit. The same call on
    an equal cohort gives byte-equal files. Raises PhantomError where `folder` is no phantom cohort or has no such
    patient.
    """
    folder = Path(folder)
    marker = _read_marker(folder)
    if marker is None:
        raise PhantomError(
            f"expected a phantom cohort with its {MARKER}, got {folder}: write one with python -m pipelines.phantom"
        )
    settings = _settings_of(marker)
    visits = [(index, patient, visit) for index, patient, visit in _schedule(settings)] + [
        tuple(a) for a in marker["added"]
    ]
    known = {patient for _, patient, _ in visits}
    if patient_id is None:
        patient_index, visit = max(known) + 1, 0
    else:
        chosen = [p for p in known if _patient_id(settings, p) == patient_id]
        if not chosen:
            raise PhantomError(
                f"expected a patient of the cohort, got {patient_id!r} for {folder}: see patient_id in reports.csv"
            )
        patient_index = chosen[0]
        visit = sum(p == patient_index for _, p, _ in visits)
    earlier: EarlierExam | None = None
    for index, patient, v in visits:
        if patient == patient_index:
            earlier = EarlierExam.of(_make(settings, index, patient, v, earlier))
    index = len(visits)
    exam = _make(settings, index, patient_index, visit, earlier)
    reports, truths = _read_csv(folder / "reports.csv"), _read_csv(folder / "truth.csv")
    _write_exam(folder, exam)
    reports.append(_report_row(exam))
    truths.extend(_write_truth(folder, exam))
    atomic.write_bytes(folder / "truth.csv", csv_bytes(TRUTH_COLUMNS, truths))
    atomic.write_bytes(folder / "reports.csv", csv_bytes(REPORT_COLUMNS, reports))
    marker["added"].append([index, patient_index, visit])
    _write_marker(folder, marker | _counts(reports, truths))
    return exam.exam_id


def _schedule(settings: PhantomSettings) -> Iterator[tuple[int, int, int]]:
    """(exam index, patient index, visit) of every exam: each patient once, then from the first patient on again, and
    varied patients after them."""
    for index in range(settings.n_exams):
        yield index, index % settings.n_patients, index // settings.n_patients
    for n in range(settings.n_varied):
        yield settings.n_exams + n, settings.n_patients + n, 0


def _patient_id(settings: PhantomSettings, patient_index: int) -> str:
    return f"P{settings.seed:02d}{patient_index + 1:04d}"


def _make(
    settings: PhantomSettings, index: int, patient_index: int, visit: int, earlier: EarlierExam | None
) -> PhantomExam:
    """Exam `index` of the cohort; what is drawn depends on seed, patient and visit alone."""
    is_further = 0 <= patient_index - settings.n_patients < settings.n_varied
    is_varied = settings.size == "varied" or is_further
    draw = draw_varied_patient if is_varied else draw_patient
    patient = draw(_patient_id(settings, patient_index), np.random.default_rng([settings.seed, patient_index, 1]))
    rng = np.random.default_rng([settings.seed, patient_index, 2, visit])
    first_day = date(2019, 1, 7) + timedelta(
        days=int(np.random.default_rng([settings.seed, patient_index, 3]).integers(1400))
    )
    if settings.hard is not None:
        hard = HardVisit(f"PX-{index + 1:04d}", patient, study_date_of(first_day, visit), earlier)
        return make_hard_exam(hard, settings.hard, rng)
    # Every kind of decoy comes round within a few exams, however small the cohort is.
    decoys = [DECOYS[(5 * index + n * 3 + n // 4) % len(DECOYS)] for n in range(5)]
    if is_varied:
        acquisition = draw_acquisition(index, np.random.default_rng([settings.seed, patient_index, 5, visit]))
    else:
        acquisition = acquisition_of(settings.size, index)
    drawn = Visit(f"PX-{index + 1:04d}", patient, acquisition, study_date_of(first_day, visit))
    if is_varied:
        drawn = replace(drawn, off_axis_mm=30.0, lesions=_VARIED_LESIONS)
    return make_exam(
        drawn,
        earlier=None if earlier is None else earlier.lesions,
        decoys=list(dict.fromkeys(decoys)),
        rng=rng,
        twins=np.random.default_rng([settings.seed, patient_index, 4, visit]) if index % TWINS_EVERY == 2 else None,
    )


def _injection(exam: PhantomExam) -> Injection:
    rng = np.random.default_rng(list(exam.exam_id.encode()))
    injected = datetime.combine(exam.study_date, time(7, 30)) + timedelta(
        minutes=int(rng.integers(480)), seconds=int(rng.integers(60))
    )
    scanned = injected + timedelta(minutes=int(rng.integers(55, 75)))
    tracer = exam.acquisition.tracer
    return Injection(
        tracer,
        float(rng.integers(300, 480)) * 1e6,
        HALF_LIFE_S[tracer],
        injected,
        scanned,
        exam.acquisition.decay_correction,
    )


def _write_exam(cohort: Path, exam: PhantomExam) -> None:
    """The exam's folder: PET, CT where there is one, and the organ labels on the PET's grid."""
    folder = cohort / "exams" / exam.exam_id
    building = cohort / "exams" / f".{exam.exam_id}.building"
    shutil.rmtree(building, ignore_errors=True)
    building.mkdir(parents=True)
    how, frame = exam.acquisition, exam.frame
    orientation = how.orientation if how.source == "nifti" else "RAS"
    if how.source == "dicom":
        study = building / "DICOM" / "ST000000" if how.nested else building
        names = ("SE000001", "SE000002", "SE000003") if how.nested else ("ct", "pet", "pet_uncorrected")
        injection = _injection(exam)
        header = Study(exam.exam_id, exam.patient, frame.affine, frame.spacing_mm, how.nested)
        write_ct_dicom(study / names[0], header, _ct(exam, frame, exam.painted.hu), injection.scanned)
        write_pet_dicom(study / names[1], header, exam.suv, injection)
        if how.uncorrected_series:
            write_pet_dicom(study / names[2], header, exam.suv, injection, corrected=False)
    else:
        slope = float(exam.suv.max()) / 32000 if how.stored == "int16" else None
        (building / "SUV.nii.gz").write_bytes(nifti_bytes(exam.suv, frame.affine, orientation, slope))
        if how.ct is not None:
            ct_frame, hu = frame, exam.painted.hu
            if how.ct == "own":
                ct_frame = beside(frame, exam.patient, how)
                hu = paint(exam.patient, ct_frame.grid, _NO_UPTAKE).hu
            stored = nifti_bytes(_ct(exam, ct_frame, hu).astype(np.int16), ct_frame.affine, orientation)
            (building / ("CTres.nii.gz" if how.ct == "res" else "CT.nii.gz")).write_bytes(stored)
        if how.with_seg:
            seg = np.zeros(frame.shape, np.uint8)
            for lesion in exam.lesions:
                seg[lesion.box][lesion.mask] = 1
            for twin in exam.twins:
                shape = shape_on(twin, frame.grid, exam.patient.scale)
                seg[shape.box][shape.mask] = 1
            (building / "SEG.nii.gz").write_bytes(nifti_bytes(seg, frame.affine, orientation))
    if exam.with_organ_map:
        (building / "TOTALSEG.nii.gz").write_bytes(nifti_bytes(exam.painted.labels, frame.affine, orientation))
    shutil.rmtree(folder, ignore_errors=True)
    building.rename(folder)


class _NoUptake(dict[str, float]):
    """An uptake for painting a CT, where nobody looks at the SUV."""

    def __missing__(self, key: str) -> float:
        return 0.0


_NO_UPTAKE = _NoUptake()
_LESION_HU = {"lung": 25.0, "liver": 45.0}


def _ct(exam: PhantomExam, frame: Frame, body_hu: Floats) -> Floats:
    """HU on a grid, whole numbers: the body, lesions in soft tissue density, and noise."""
    hu = body_hu.copy()
    for tumour in [*(i.tumour for i in exam.lesions), *exam.twins]:
        assert tumour is not None
        shape = shape_on(tumour, frame.grid, exam.patient.scale)
        hu[shape.box][shape.occupancy > 0.5] = _LESION_HU.get(tumour.site.organ, 42.0)
    rng = np.random.default_rng([*exam.exam_id.encode(), 7])
    return np.clip(np.round(hu + 9 * rng.standard_normal(hu.shape, dtype=np.float32)), -1024, 3071)


def _report_row(exam: PhantomExam) -> dict[str, str]:
    return {
        "exam_id": exam.exam_id,
        "patient_id": exam.patient.patient_id,
        "findings": exam.findings,
        "impression": exam.impression,
        "study_date": exam.study_date.isoformat(),
        "tracer": exam.acquisition.tracer,
    }


def _write_truth(cohort: Path, exam: PhantomExam) -> list[dict[str, str]]:
    """The exam's rows of truth.csv; true masks are written as boxes on the PET's grid."""
    folder = cohort / "truth"
    folder.mkdir(exist_ok=True)
    voxel_ml = float(np.prod(exam.frame.spacing_mm)) / 1000
    rows = []
    for truth in exam.truths:
        claim, imaged = truth.claim, truth.imaged
        row = dict.fromkeys(TRUTH_COLUMNS, "")
        row |= {
            "exam_id": exam.exam_id,
            "patient_id": exam.patient.patient_id,
            "slice": "" if claim.slice is None else str(claim.slice),
            "suvmax_reported": "" if claim.suvmax_reported is None else f"{claim.suvmax_reported:.1f}",
            "outcome": claim.outcome.value,
            "lesion_id": claim.lesion_id,
            "sentence": truth.sentence,
        }
        if imaged is not None:
            row["peak_ras_mm"] = " ".join(f"{v:.2f}" for v in exam.frame.ras_mm(imaged.peak.ijk))
            row["suvmax"] = f"{imaged.peak.suvmax:.3f}"
            row["volume_ml"] = f"{imaged.mask.sum() * voxel_ml:.3f}"
            row["totalseg_class"] = organ_at(exam, imaged.peak.ijk)
            name = f"{exam.exam_id}_{imaged.lesion_id}".replace(" ", "-")
            affine = exam.frame.affine.copy()
            affine[:3, 3] = exam.frame.ras_mm(tuple(b.start for b in imaged.box))  # type: ignore[arg-type]
            (folder / f"{name}.nii.gz").write_bytes(nifti_bytes(imaged.mask.astype(np.uint8), affine))
            row["mask"] = name
            if imaged.tumour is not None:
                site = imaged.tumour.site
                row |= {
                    "region": site.region,
                    "organ": site.organ,
                    "subsite": site.subsite,
                    "laterality": site.side,
                    "comparison": truth.comparison,
                    "touches": imaged.tumour.touches,
                    "near_hot": str(site.near_hot),
                    "necrotic": str(imaged.tumour.core > 0),
                }
        rows.append(row)
    return rows


def _write_faults(cohort: Path, settings: PhantomSettings) -> list[dict[str, str]]:
    """Exams and reports with something wrong (see FAULTS); returns their rows of reports.csv."""
    base = PhantomSettings(1, 1, settings.seed + 1, "small")
    exams = cohort / "exams"
    (exams / "PX-EMPTY").mkdir()
    dicom = _make(base, 1, 0, 0, None)
    no_dose = replace(dicom, exam_id="PX-NODOSE")
    _write_exam(cohort, no_dose)
    _drop_dose(exams / "PX-NODOSE" / "pet")
    nifti = _make(base, 0, 0, 0, None)
    _write_exam(cohort, replace(nifti, exam_id="PX-TRUNC"))
    image = exams / "PX-TRUNC" / "SUV.nii.gz"
    image.write_bytes(image.read_bytes()[:20_000])
    _write_exam(cohort, replace(nifti, exam_id="PX-NOREPORT"))
    rows: list[dict[str, str]] = []
    for exam_id in ("PX-EMPTY", "PX-NODOSE", "PX-TRUNC", "PX-UNKNOWN"):
        rows.append(_report_row(replace(dicom, exam_id=exam_id)) | {"patient_id": f"PFAULT{len(rows)}"})
    return rows


def _drop_dose(folder: Path) -> None:
    for path in sorted(folder.iterdir()):
        d = pydicom.dcmread(path)
        del d.RadiopharmaceuticalInformationSequence[0].RadionuclideTotalDose
        d.save_as(path, enforce_file_format=True)


def _counts(reports: list[dict[str, str]], truths: list[dict[str, str]]) -> dict[str, object]:
    return {
        "exam_ids": [r["exam_id"] for r in reports if r["exam_id"] not in FAULTS],
        "n_patients": len({r["patient_id"] for r in reports if r["exam_id"] not in FAULTS}),
        "n_lesions": sum(t["outcome"] == "lesion" for t in truths),
        "n_rejects": sum(t["outcome"] != "lesion" for t in truths),
    }


def _describe(folder: Path, marker: dict, written: bool) -> PhantomCohort:  # type: ignore[type-arg]  # JSON
    ids = tuple(marker["exam_ids"])
    return PhantomCohort(
        folder,
        _settings_of(marker),
        len(ids),
        marker["n_patients"],
        marker["n_lesions"],
        marker["n_rejects"],
        ids,
        written,
    )


def _read_marker(folder: Path) -> dict | None:  # type: ignore[type-arg]  # JSON
    try:
        return json.loads((folder / MARKER).read_text())
    except (FileNotFoundError, NotADirectoryError):
        return None
    except json.JSONDecodeError as error:
        raise PhantomError(
            f"expected JSON in {folder / MARKER}, got {error_reason(error)}: delete the cohort and write it again"
        ) from error


def _write_marker(folder: Path, marker: dict) -> None:  # type: ignore[type-arg]  # JSON
    atomic.write_bytes(folder / MARKER, (json.dumps(marker, indent=1) + "\n").encode())


def _settings_of(marker: dict) -> PhantomSettings:  # type: ignore[type-arg]  # JSON
    """The settings that a marker's cohort was written with."""
    settings = dict(marker["settings"])
    if settings["hard"] is not None:
        hard = dict(settings["hard"])
        hard["workstation"], hard["tracers"] = Workstation(**hard["workstation"]), tuple(hard["tracers"])
        settings["hard"] = HardSettings(**hard)
    return PhantomSettings(**settings)


def _read_csv(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))
