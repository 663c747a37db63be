"""Exams as DICOM series, as one enhanced file, as NIfTI, NRRD and MetaImage, small ones: six slices."""

import gzip
import io
import json
import random
import tempfile
from datetime import datetime
from functools import cache
from pathlib import Path

import nibabel
import numpy as np
import pydicom
import SimpleITK as sitk  # noqa: N813
from pydicom.uid import DeflatedExplicitVRLittleEndian, ExplicitVRLittleEndian, ImplicitVRLittleEndian, RLELossless

from benchmarks.fuzz import damage
from benchmarks.fuzz.case import Files, Input, WrongResultError
from pipelines.imaging.problems import ExamError
from pipelines.imaging.reading.exam import read_exam
from pipelines.imaging.volume import Volume, to_sitk
from pipelines.phantom.body import Patient
from pipelines.phantom.exam_files import Injection, Study, nifti_bytes, write_ct_dicom, write_pet_dicom
from pipelines.settings import ExamSettings
from pipelines.tables import schemas

_SYNTAXES = (
    ExplicitVRLittleEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    DeflatedExplicitVRLittleEndian,
    RLELossless,
)
_SHAPE, _SPACING_MM = (16, 14, 6), (25.0, 25.0, 20.0)


def _arrays() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(SUV, HU, affine) of a body with one hot lesion."""
    i, j, _ = np.indices(_SHAPE)
    inside = ((i - 7.5) / 6) ** 2 + ((j - 6.5) / 5) ** 2 <= 1
    suv, hu = np.where(inside, 1.0, 0.01), np.where(inside, 40.0, -1000.0)
    suv[9, 7, 3] = 9.0
    affine = np.diag([*_SPACING_MM, 1.0])
    affine[:3, 3] = (-187.5, -162.5, -400.0)
    return suv.astype(np.float32), hu, affine


@cache
def _series(syntax: str) -> Files:
    """Files of an exam: six slices of PET and six of CT in a transfer syntax."""
    suv, hu, affine = _arrays()
    study = Study("E1", Patient("P1", "M", 60, 75.0, 1.78, (1.0, 1.0, 1.0), ()), affine, _SPACING_MM)
    injected, scanned = datetime(2021, 3, 4, 10), datetime(2021, 3, 4, 11)
    found: Files = {}
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        write_pet_dicom(root / "PET", study, suv, Injection("FDG", 3.5e8, 6586.2, injected, scanned, "START"))
        write_ct_dicom(root / "CT", study, hu, scanned)
        for path in sorted(root.glob("*/*")):
            dataset = pydicom.dcmread(path)
            if syntax == RLELossless:
                dataset.compress(RLELossless)
            else:
                dataset.file_meta.TransferSyntaxUID = syntax
            dataset.save_as(path)
            found[str(path.relative_to(root))] = path.read_bytes()
    return found


_ENHANCED_NAME = "enhanced.dcm"


@cache
def _enhanced() -> Files:
    """The PET in one file of six frames, plain and compressed, by transfer syntax."""
    import highdicom

    slices = [
        pydicom.dcmread(io.BytesIO(data)) for name, data in _series(ExplicitVRLittleEndian).items() if "PET" in name
    ]
    for n, dataset in enumerate(slices, start=1):
        dataset.StudyID, dataset.AccessionNumber, dataset.ReferringPhysicianName = "1", "", ""
        dataset.SeriesNumber, dataset.ImageIndex, dataset.CountsSource = 3, n, "EMISSION"
        dataset.RandomsCorrectionMethod, dataset.CollimatorType, dataset.LossyImageCompression = "DLYD", "RING", "00"
        dataset.PatientBirthDate = ""
    made = highdicom.legacy.LegacyConvertedEnhancedPETImage(
        legacy_datasets=slices,
        series_instance_uid="1.2.3.4",
        series_number=5,
        sop_instance_uid="1.2.3.4.5",
        instance_number=1,
    )
    found: Files = {}
    for syntax in (ExplicitVRLittleEndian, RLELossless):
        out = io.BytesIO()
        if syntax == RLELossless:
            made.compress(RLELossless, generate_instance_uid=False)
        made.save_as(out)
        found[syntax] = out.getvalue()
    return found


def _multi_frame(rng: random.Random) -> Files:
    data = _enhanced()[rng.choice(sorted(_enhanced()))]
    return {_ENHANCED_NAME: damage.of_dicom(data, rng)}


@cache
def _other_formats() -> Files:
    suv, _, affine = _arrays()
    found: Files = {}
    with tempfile.TemporaryDirectory() as folder:
        for name in ("SUV.nrrd", "SUV.mha", "packed SUV.nrrd", "packed SUV.mha"):
            path = Path(folder) / name
            sitk.WriteImage(to_sitk(Volume(suv, affine)), str(path), useCompression=name.startswith("packed"))
            found[name] = path.read_bytes()
    return found


def _other(rng: random.Random) -> Files:
    """An NRRD or MetaImage whose header, words or voxels are damaged."""
    name = rng.choice(sorted(_other_formats()))
    data = _other_formats()[name]
    end = data.index(b"\n\n") if name.endswith("nrrd") else data.index(b"LOCAL")
    if rng.random() < 0.7:
        lines = data[:end].split(b"\n")
        at = rng.randrange(len(lines))
        lines[at] = rng.choice(
            (b"", damage.of_bytes(lines[at], rng), lines[at] + b" 9", lines[at][: len(lines[at]) // 2])
        )
        data = b"\n".join(lines) + data[end:]
    else:
        data = damage.of_bytes(data, rng)
    return {name.split()[-1]: data}


@cache
def _volumes() -> Files:
    suv, hu, affine = _arrays()
    return {
        "SUV.nii": gzip.decompress(nifti_bytes(suv, affine)),
        "CT.nii": gzip.decompress(nifti_bytes(hu.astype(np.int16), affine)),
    }


@cache
def small_nifti() -> Files:
    """A PET and a mask, gzipped."""
    suv, _, affine = _arrays()
    return {"pet": nifti_bytes(suv, affine), "mask": nifti_bytes((suv > 5).astype(np.uint8), affine)}


def _dicom(rng: random.Random) -> Files:
    files = dict(_series(rng.choice(_SYNTAXES)))
    names = sorted(files)
    for name in rng.sample(names, rng.choice((1, 1, 1, 2, len(names)))):
        files[name] = damage.of_dicom(files[name], rng)
    if rng.random() < 0.1:
        files[rng.choice(("DICOMDIR", "0.dcm", "notes.txt"))] = rng.choice(
            (b"", b"no DICOM", bytes(132) + b"DICM", files[names[0]][:300])
        )
    return files


def _read_images(folder: Path) -> int:
    exam = read_exam(folder, "E1", ExamSettings())
    for volume in (exam.suv, exam.ct):
        if volume is not None and not (np.isfinite(volume.array).all() and np.isfinite(volume.affine).all()):
            raise WrongResultError("a volume is not finite")
    schemas.frame("exams", [exam.facts.to_row()])
    return 1


_SIDECAR = json.dumps(
    {"Units": "Bq/mL", "InjectedRadioactivity": 350, "InjectedRadioactivityUnits": "MBq", "PatientWeight": 70}
    | {"TracerRadionuclide": "F18", "InjectionStart": 0, "ImageDecayCorrected": True, "ImageDecayCorrectionTime": 3600}
).encode()


def _nifti(rng: random.Random) -> Files:
    if rng.random() < 0.2:
        return {"PET.nii": _volumes()["SUV.nii"], "PET.json": damage.of_json(_SIDECAR, rng)}
    files = dict(_volumes())
    name = rng.choice(sorted(files))
    data = files.pop(name)
    if rng.random() < 0.6:
        image = nibabel.Nifti1Image.from_bytes(data)
        field = rng.choice([n for n in image.header.keys() if n not in ("magic", "sizeof_hdr")])  # noqa: SIM118
        value = image.header[field]
        raw = bytearray(value.tobytes())
        raw[rng.randrange(len(raw))] = rng.randrange(256)
        header = bytearray(data[:352])
        at = nibabel.Nifti1Header.template_dtype.fields[field][1]
        header[at : at + len(raw)] = raw
        data = bytes(header) + data[352:]
    else:
        data = damage.of_bytes(data, rng)
    if rng.random() < 0.5:
        data = gzip.compress(data, 1)
        name += ".gz"
        if rng.random() < 0.3:
            data = damage.of_bytes(data, rng)
    return {**files, name: data}


INPUTS = (
    Input("exam: DICOM", 2000, _dicom, _read_images, (ExamError,)),
    Input("exam: multi-frame DICOM", 400, _multi_frame, _read_images, (ExamError,)),
    Input("exam: NRRD and MetaImage", 400, _other, _read_images, (ExamError,)),
    Input("exam: NIfTI", 1000, _nifti, _read_images, (ExamError,)),
)
