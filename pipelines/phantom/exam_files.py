"""Byte-equal files from equal arrays: NIfTI whose gzip holds no time, DICOM whose UIDs follow from names."""

import csv
import gzip
import io
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

import nibabel
import numpy as np
from nibabel.orientations import apply_orientation, axcodes2ornt, inv_ornt_aff, io_orientation, ornt_transform
from numpy.typing import NDArray
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.sequence import Sequence as DicomSequence
from pydicom.uid import (
    UID,
    CTImageStorage,
    ExplicitVRLittleEndian,
    PositronEmissionTomographyImageStorage,
    generate_uid,
)
from pydicom.valuerep import DSfloat

from pipelines.phantom.body import Floats, Patient

SUV_STEP = 1 / 1024
"""SUV is stored in multiples of this, so that float32 noise compresses."""


def nifti_bytes(
    array: NDArray[np.generic], affine: NDArray[np.float64], orientation: str = "RAS", slope: float | None = None
) -> bytes:
    """A gzipped NIfTI-1 of an array in RAS+ order, its axes stored in `orientation`; with `slope`, as int16 and that
    scaling.
    """
    turn = ornt_transform(io_orientation(affine), axcodes2ornt(tuple(orientation)))
    stored = apply_orientation(array, turn)
    stored_affine = affine @ inv_ornt_aff(turn, array.shape)
    if slope is not None:
        stored = np.clip(np.round(stored / slope), -32768, 32767).astype(np.int16)
    image = nibabel.Nifti1Image(np.ascontiguousarray(stored), stored_affine)
    image.set_qform(stored_affine, code=1)
    image.set_sform(stored_affine, code=1)
    image.header.set_xyzt_units("mm", "sec")
    if slope is not None:
        image.header.set_slope_inter(slope, 0)
        # nibabel scales integers on saving; the integers here are the stored ones, so header and data are
        # written as they are.
        header = image.header.copy()
        header.set_data_dtype(np.int16)
        header["scl_slope"], header["scl_inter"], header["vox_offset"], header["magic"] = slope, 0, 352, b"n+1"
        return gzip.compress(header.binaryblock + b"\0" * 4 + np.asarray(stored).tobytes(order="F"), 1, mtime=0)
    return gzip.compress(image.to_bytes(), 1, mtime=0)


@dataclass(frozen=True)
class Injection:
    """What the DICOM header says about the tracer."""

    tracer: str
    dose_bq: float
    half_life_s: float
    injected: datetime
    scanned: datetime
    decay_correction: str

    @property
    def reference_dose_bq(self) -> float:
        """The dose that belongs to the stored activity: decayed to the scan unless the values are corrected to
        injection.
        """
        if self.decay_correction == "ADMIN":
            return self.dose_bq
        return self.dose_bq * 2 ** (-(self.scanned - self.injected).total_seconds() / self.half_life_s)


HALF_LIFE_S = {"FDG": 6586.2, "DOTATATE": 4062.6, "DCFPyL": 6586.2}
_RADIOPHARMACEUTICAL = {"FDG": "Fluorodeoxyglucose F^18^", "DOTATATE": "DOTATATE Ga^68^", "DCFPyL": "DCFPyL F^18^"}
_NUCLIDE = {
    "FDG": ("C-111A1", "^18^Fluorine"),
    "DOTATATE": ("C-131A3", "^68^Gallium"),
    "DCFPyL": ("C-111A1", "^18^Fluorine"),
}


def _code(value: str, scheme: str, meaning: str) -> Dataset:
    code = Dataset()
    code.CodeValue, code.CodingSchemeDesignator, code.CodeMeaning = value, scheme, meaning
    return code


@dataclass(frozen=True)
class Study:
    """What the DICOM series of an exam share. `nested` names files as media do: IM00001, without an ending."""

    exam_id: str
    patient: Patient
    affine: NDArray[np.float64]
    spacing_mm: tuple[float, float, float]
    nested: bool = False


def _series(study: Study, scanned: datetime, series: str, sop_class: UID, number: int) -> Dataset:
    """What all slices of a series share, the file meta included."""
    patient, exam_id = study.patient, study.exam_id
    d = Dataset()
    d.file_meta = FileMetaDataset()
    d.file_meta.MediaStorageSOPClassUID = sop_class
    d.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    d.SpecificCharacterSet = "ISO_IR 100"
    d.SOPClassUID = sop_class
    d.StudyDate = d.SeriesDate = d.AcquisitionDate = d.ContentDate = scanned.strftime("%Y%m%d")
    d.StudyTime = d.SeriesTime = d.AcquisitionTime = d.ContentTime = scanned.strftime("%H%M%S")
    d.AccessionNumber = ""
    d.Manufacturer, d.ManufacturerModelName = "Phantom", "Digital body"
    d.ReferringPhysicianName = ""
    d.StudyDescription, d.SeriesDescription = "PET/CT whole body", series
    d.PatientName = f"Phantom^{patient.patient_id}"
    d.PatientID, d.PatientBirthDate, d.PatientSex = patient.patient_id, "", patient.sex
    d.PatientAge = f"{patient.age:03d}Y"
    d.PatientSize, d.PatientWeight = (
        DSfloat(patient.height_m, auto_format=True),
        DSfloat(patient.weight_kg, auto_format=True),
    )
    d.StudyInstanceUID = generate_uid(entropy_srcs=[exam_id, "study"])
    d.SeriesInstanceUID = generate_uid(entropy_srcs=[exam_id, "series", series])
    d.FrameOfReferenceUID = generate_uid(entropy_srcs=[exam_id, "frame"])
    d.StudyID, d.SeriesNumber, d.PositionReferenceIndicator = "1", number, ""
    d.PatientPosition = "HFS"
    d.ImageOrientationPatient = [1, 0, 0, 0, 1, 0]
    d.SamplesPerPixel, d.PhotometricInterpretation = 1, "MONOCHROME2"
    d.BitsAllocated, d.BitsStored, d.HighBit = 16, 16, 15
    return d


def _write_slices(d: Dataset, study: Study, array: Floats, folder: Path) -> None:
    """Saves every slice, the head first; `d` says by its PixelRepresentation and slope how numbers are stored."""
    n_i, n_j, n_k = array.shape
    affine, spacing_mm = study.affine, study.spacing_mm
    d.Rows, d.Columns = n_j, n_i
    d.PixelSpacing = [DSfloat(spacing_mm[1], auto_format=True), DSfloat(spacing_mm[0], auto_format=True)]
    d.SliceThickness = DSfloat(spacing_mm[2], auto_format=True)
    is_pet = d.Modality == "PT"
    if is_pet:
        d.NumberOfSlices = n_k
    for number in range(1, n_k + 1):
        k = n_k - number
        plane = array[::-1, ::-1, k].T
        x, y, z, _ = affine @ [n_i - 1, n_j - 1, k, 1]
        d.ImagePositionPatient = [DSfloat(round(v, 4), auto_format=True) for v in (-x, -y, z)]
        d.SliceLocation = DSfloat(round(z, 4), auto_format=True)
        d.InstanceNumber = number
        if is_pet:
            slope = DSfloat(max(float(plane.max()), 1.0) / 32767, auto_format=True)
            stored = np.round(plane / float(slope)).astype(np.int16)
            d.RescaleSlope, d.RescaleIntercept, d.ImageIndex = slope, 0, number
            stored_type = "<i2"
        else:
            stored = np.round(plane + 1024).clip(0, 4095)
            stored_type = "<u2"
        d.PixelData = stored.astype(stored_type).tobytes()
        d.SOPInstanceUID = d.file_meta.MediaStorageSOPInstanceUID = generate_uid(
            entropy_srcs=[d.SeriesInstanceUID, str(number)]
        )
        name = f"IM{number:05d}" if study.nested else f"{number:04d}.dcm"
        d.save_as(folder / name, enforce_file_format=True)


def write_pet_dicom(folder: Path, study: Study, suv: Floats, injection: Injection, *, corrected: bool = True) -> None:
    """A BQML PET series of an SUVbw array in RAS+ order, one file a slice, RescaleSlope per slice.

    With `corrected=False` a series without attenuation correction, such as scanners send along.
    """
    folder.mkdir(parents=True)
    name = "PET WB" if corrected else "PET WB uncorrected"
    d = _series(study, injection.scanned, name, PositronEmissionTomographyImageStorage, 4 if corrected else 5)
    d.Modality = "PT"
    d.ImageType = ["ORIGINAL", "PRIMARY"]
    d.Units, d.CountsSource, d.SeriesType = "BQML", "EMISSION", ["WHOLE BODY", "IMAGE"]
    corrections = ["DECY", "ATTN", "SCAT", "DTIM", "RAN", "NORM"]
    d.CorrectedImage = corrections if corrected else ["DECY", "DTIM", "RAN", "NORM"]
    d.DecayCorrection, d.RandomsCorrectionMethod = injection.decay_correction, "DLYD"
    d.FrameReferenceTime, d.ActualFrameDuration = 0, 150000
    d.PixelRepresentation = 1
    drug = Dataset()
    drug.Radiopharmaceutical = _RADIOPHARMACEUTICAL[injection.tracer]
    drug.RadiopharmaceuticalStartTime = injection.injected.strftime("%H%M%S")
    drug.RadiopharmaceuticalStartDateTime = injection.injected.strftime("%Y%m%d%H%M%S")
    drug.RadionuclideTotalDose = DSfloat(injection.dose_bq, auto_format=True)
    drug.RadionuclideHalfLife = DSfloat(injection.half_life_s, auto_format=True)
    value, meaning = _NUCLIDE[injection.tracer]
    drug.RadionuclideCodeSequence = DicomSequence([_code(value, "SRT", meaning)])
    d.RadiopharmaceuticalInformationSequence = DicomSequence([drug])
    bq_per_ml = suv * (injection.reference_dose_bq / (study.patient.weight_kg * 1000))
    if not corrected:
        # Attenuation takes most of the counts of a whole body.
        bq_per_ml = bq_per_ml * 0.2
    _write_slices(d, study, bq_per_ml, folder)


def write_ct_dicom(folder: Path, study: Study, hu: Floats, scanned: datetime) -> None:
    """A CT series of an HU array in RAS+ order, in the PET's frame of reference."""
    folder.mkdir(parents=True)
    d = _series(study, scanned - timedelta(minutes=2), "CT WB", CTImageStorage, 3)
    d.Modality = "CT"
    d.ImageType = ["ORIGINAL", "PRIMARY", "AXIAL"]
    d.KVP, d.PixelRepresentation, d.AcquisitionNumber = 120, 0, 1
    d.RescaleIntercept, d.RescaleSlope, d.RescaleType = -1024, 1, "HU"
    _write_slices(d, study, hu, folder)


def csv_bytes(columns: Sequence[str], rows: Sequence[dict[str, str]]) -> bytes:
    """A CSV with a header, quoted where needed, line feeds inside fields kept."""
    out = io.StringIO(newline="")
    writer = csv.DictWriter(out, columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return out.getvalue().encode()
