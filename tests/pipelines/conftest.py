"""Builders shared by the tests of the imaging core: small phantoms, and DICOM series written from arrays."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, generate_uid
from scipy.ndimage import gaussian_filter

from pipelines.imaging.volume import Volume


def affine_of(spacing_mm: Any, origin_mm: Any = (0.0, 0.0, 0.0)) -> np.ndarray:
    affine = np.diag([*spacing_mm, 1.0]).astype(float)
    affine[:3, 3] = origin_mm
    return affine


@pytest.fixture(scope="session")
def spheres() -> Callable[..., Volume]:
    """A volume of background 1 with blurred spheres: each (centre RAS mm, radius mm, SUV)."""

    def build(
        balls: list[tuple[tuple[float, float, float], float, float]],
        shape: tuple[int, int, int] = (48, 44, 40),
        spacing_mm: tuple[float, float, float] = (3.0, 3.0, 3.0),
        origin_mm: tuple[float, float, float] = (-72.0, -66.0, -60.0),
        fwhm_mm: float = 6.0,
        background: float = 1.0,
        noise: float = 0.0,
        seed: int = 0,
    ) -> Volume:
        affine = affine_of(spacing_mm, origin_mm)
        grid = np.stack(np.meshgrid(*[np.arange(n) for n in shape], indexing="ij"), axis=-1) * spacing_mm + origin_mm
        array = np.full(shape, background, dtype=float)
        for centre, radius, suv in balls:
            array[np.linalg.norm(grid - np.array(centre), axis=-1) <= radius] = suv
        array = gaussian_filter(array, fwhm_mm / 2.355 / np.array(spacing_mm))
        if noise:
            array *= 1.0 + noise * np.random.default_rng(seed).standard_normal(shape)
        return Volume(np.maximum(array, 0).astype(np.float32), affine)

    return build


@pytest.fixture
def scaled() -> Callable[..., Volume]:
    """The volume with the uptake within 9 mm of each point (RAS mm) scaled to a SUVmax of its own."""

    def build(volume: Volume, points: list[tuple[float, float, float]], suvmax: Any) -> Volume:
        array = volume.array.copy()
        ijk = np.stack(np.meshgrid(*[np.arange(n) for n in volume.shape], indexing="ij"), axis=-1)
        for point, value in zip(points, suvmax, strict=True):
            distance_mm = np.linalg.norm(volume.to_ras_mm(ijk) - np.array(point), axis=-1)
            factor = value / float(volume.array[distance_mm <= 9.0].max())
            array *= 1.0 + (factor - 1.0) * np.clip((14.0 - distance_mm) / 5.0, 0.0, 1.0)
        return Volume(array.astype(np.float32), volume.affine)

    return build


def pet_header(**changes: Any) -> Dataset:
    """Attributes of a PET slice that is right in everything; a change to None removes the attribute."""
    item = Dataset()
    item.RadiopharmaceuticalStartTime = "100000"
    item.RadionuclideTotalDose = "370000000"
    item.RadionuclideHalfLife = "6586.2"
    item.Radiopharmaceutical = "FDG"
    dataset = Dataset()
    dataset.Modality = "PT"
    dataset.Units = "BQML"
    dataset.CorrectedImage = ["ATTN", "DECY"]
    dataset.DecayCorrection = "START"
    dataset.SeriesDate = dataset.AcquisitionDate = "20200102"
    dataset.SeriesTime = dataset.AcquisitionTime = "110000"
    dataset.PatientWeight = "70"
    dataset.PatientSize = "1.75"
    dataset.PatientSex = "M"
    dataset.RescaleSlope = "1"
    dataset.RescaleIntercept = "0"
    dataset.RadiopharmaceuticalInformationSequence = [item]
    for key, value in changes.items():
        target = item if key.startswith("Radio") and key != "RadiopharmaceuticalInformationSequence" else dataset
        if value is None:
            if key in target:
                del target[key]
        else:
            setattr(target, key, value)
    return dataset


@pytest.fixture
def header() -> Callable[..., Dataset]:
    return pet_header


@pytest.fixture
def write_series() -> Callable[..., list[Path]]:
    """Writes a volume (its RAS+ order) as a DICOM series; stored = value / slope, slices in a shuffled order of
    names."""

    def write(
        folder: Path,
        volume: Volume,
        slopes: Any = 1.0,
        modality: str = "PT",
        series_uid: str | None = None,
        frame_uid: str = "1.2.3.4",
        description: str = "PET WB",
        intercept: float = 0.0,
        edit: Callable[[Dataset, int], None] | None = None,
        **changes: Any,
    ) -> list[Path]:
        folder.mkdir(parents=True, exist_ok=True)
        # DICOM rows run to the patient's left and back (LPS), so both in-plane axes are flipped.
        array = volume.array[::-1, ::-1, :]
        first = volume.to_ras_mm([volume.shape[0] - 1, volume.shape[1] - 1, 0])
        n_k = array.shape[2]
        slopes = np.broadcast_to(slopes, n_k)
        uid = series_uid or generate_uid()
        paths = []
        for k in range(n_k):
            dataset = pet_header(**changes) if modality == "PT" else Dataset()
            dataset.file_meta = FileMetaDataset()
            dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
            dataset.SOPClassUID = (
                pydicom.uid.PositronEmissionTomographyImageStorage if modality == "PT" else pydicom.uid.CTImageStorage
            )
            dataset.SOPInstanceUID = generate_uid()
            dataset.file_meta.MediaStorageSOPClassUID = dataset.SOPClassUID
            dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
            dataset.Modality = modality
            dataset.SeriesInstanceUID = uid
            dataset.StudyInstanceUID = "1.2.3"
            dataset.FrameOfReferenceUID = frame_uid
            dataset.SeriesDescription = description
            dataset.PatientID = "p"
            dataset.PatientName = "p"
            dataset.Rows, dataset.Columns = array.shape[1], array.shape[0]
            dataset.PixelSpacing = [volume.spacing_mm[1], volume.spacing_mm[0]]
            dataset.SliceThickness = volume.spacing_mm[2]
            dataset.ImageOrientationPatient = [1, 0, 0, 0, 1, 0]
            dataset.ImagePositionPatient = [-first[0], -first[1], first[2] + k * volume.spacing_mm[2]]
            dataset.RescaleSlope = str(float(slopes[k]))[:16]
            dataset.RescaleIntercept = str(intercept)
            dataset.SamplesPerPixel = 1
            dataset.PhotometricInterpretation = "MONOCHROME2"
            dataset.BitsAllocated = dataset.BitsStored = 16
            dataset.HighBit = 15
            dataset.PixelRepresentation = 1
            dataset.PixelData = np.rint((array[:, :, k].T - intercept) / slopes[k]).astype("<i2").tobytes()
            if edit:
                edit(dataset, k)
            path = folder / f"{(k * 7919) % 10007:05d}.dcm"
            dataset.save_as(path, enforce_file_format=True)
            paths.append(path)
        return paths

    return write
