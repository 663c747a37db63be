"""Reference objects for SUV made after IBSI's descriptions of 2026: each must give 0.20, 1.00 and 4.00, or be refused.

The list lies in the folder `shared` beside the checkout. What each object holds is computed here from first principles,
in activity at the moment that its decay correction refers to.
"""

import csv
import math
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from pydicom.dataset import Dataset

from pipelines.imaging.problems import ExamError
from pipelines.imaging.reading.exam import read_exam
from pipelines.imaging.volume import Volume
from tests.support.paths import SHARED

TABLE = SHARED / "data" / "suv-dro-2026" / "objects.csv"
pytestmark = pytest.mark.skipif(not TABLE.is_file(), reason="no folder shared")

F18, GA68, ZR89 = 6586.2, 4057.74, 282276.0
WEIGHT, HEIGHT, DOSE = 75.0, 178.0, 350e6
INJECTED, SCANNED = datetime(2026, 1, 2, 10), datetime(2026, 1, 2, 11)
DURATION_S = 180.0
SLICES = 5
AFFINE = np.diag([20.0, 20.0, 20.0, 1.0])
BSA = 0.007184 * HEIGHT**0.725 * WEIGHT**0.425 * 1e4


def norms(sex: str) -> dict[str, float]:
    """Grams (BSA: cm2) of each SUVType."""
    bmi, ratio = WEIGHT / (HEIGHT / 100) ** 2, (WEIGHT / HEIGHT) ** 2
    male = (1.10 * WEIGHT - 128 * ratio, 9270 * WEIGHT / (6680 + 216 * bmi), 48.0 + 1.06 * (HEIGHT - 152))
    female = (1.07 * WEIGHT - 148 * ratio, 9270 * WEIGHT / (8780 + 244 * bmi), 45.5 + 0.91 * (HEIGHT - 152))
    both = {"M": male, "F": female, "O": tuple((m + f) / 2 for m, f in zip(male, female))}[sex]
    sizes = {"BW": WEIGHT * 1000, "BSA": BSA}
    return sizes | {kind: 1000 * kg for kind, kg in zip(("LBMJAMES128", "LBMJANMA", "IBW"), both)}


def average_s(half_life: float = F18, duration: float = DURATION_S) -> float:
    """Seconds from a frame's start to its mean activity."""
    x = math.log(2) / half_life * duration
    return math.log(x / (1 - math.exp(-x))) * half_life / math.log(2)


def stamp(moment: datetime) -> str:
    return moment.strftime("%Y%m%d%H%M%S")


@dataclass
class Made:
    """One object: how much is stored for an SUV of 1 in each slice, and how its headers differ from the default's."""

    stored: list[float]
    header: dict[str, Any] = field(default_factory=dict)
    item: dict[str, Any] = field(default_factory=dict)
    edit: Callable[[Dataset, int], None] = lambda dataset, k: None
    enhanced: bool = False


def bq(seconds: float, half_life: float = F18, dose: float = DOSE) -> float:
    """Bq/mL of SUV 1, so long after the injection."""
    return dose * 2 ** (-seconds / half_life) / (WEIGHT * 1000)


def activity(seconds: float = 3600.0, half_life: float = F18, **changes: Any) -> Made:
    header = {k: v for k, v in changes.items() if not k.startswith("Radi")}
    item = {k: v for k, v in changes.items() if k.startswith("Radi")}
    return Made([bq(seconds, half_life)] * SLICES, header, item)


def suv(kind: str, sex: str = "M", **changes: Any) -> Made:
    units = "CM2ML" if kind == "BSA" else "GML"
    return Made(
        [norms(sex)[kind] / norms(sex)["BW"]] * SLICES, {"Units": units, "SUVType": kind, "PatientSex": sex, **changes}
    )


def counts(element: int, factor: float, stored: float) -> Made:
    def edit(dataset: Dataset, k: int) -> None:
        dataset.private_block(0x7053, "Somebody else", create=True).add_new(1, "LO", "x")
        block = dataset.private_block(0x7053, "Philips PET Private Group", create=True)
        block.add_new(element, "DS", f"{factor:.8g}")

    return Made([stored / factor] * SLICES, {"Units": "CNTS", "Manufacturer": "Philips Medical Systems"}, edit=edit)


def later_series(maker: str, *, private: bool = False) -> Made:
    """Reconstructed a quarter of an hour later; decay refers to the scan's start, two minutes before the
    acquisition."""
    start = SCANNED - timedelta(seconds=120)
    to_frame = 120.0 if maker.startswith("GE") else 120.0 + average_s()

    def edit(dataset: Dataset, k: int) -> None:
        if private and maker == "SIEMENS":
            dataset.private_block(0x0071, "SIEMENS MED PT", create=True).add_new(0x22, "DT", stamp(start))
        elif private:
            dataset.private_block(0x0009, "GEMS_PETD_01", create=True).add_new(0x0D, "DT", stamp(start))

    header = {"Manufacturer": maker, "SeriesTime": "111500", "FrameReferenceTime": f"{1000 * to_frame:.6f}"}
    if private:
        header["FrameReferenceTime"] = "0"
    return Made([bq(3600 - 120)] * SLICES, header, edit=edit)


def uncorrected(maker: str) -> Made:
    """Not corrected for decay, a bed position (two slices) every three minutes."""
    moments = [SCANNED + timedelta(seconds=DURATION_S * (k // 2)) for k in range(SLICES)]
    stored = [bq((m - INJECTED).total_seconds() + average_s()) for m in moments]
    header = {"Manufacturer": maker, "DecayCorrection": "NONE", "CorrectedImage": ["ATTN", "SCAT"]}
    factor = 2.5

    def edit(dataset: Dataset, k: int) -> None:
        dataset.AcquisitionTime = moments[k].strftime("%H%M%S")
        if maker.startswith("Philips"):
            dataset.Units = "CNTS"
            dataset.private_block(0x7053, "Philips PET Private Group", create=True).add_new(0x09, "DS", str(factor))

    scale = factor if maker.startswith("Philips") else 1.0
    return Made([s / scale for s in stored], header, edit=edit)


def as_enhanced(made: Made, **changes: Any) -> Made:
    made.enhanced = True
    made.header |= changes
    return made


MIDNIGHT = {"RadiopharmaceuticalStartTime": "233000", "RadiopharmaceuticalStartDateTime": None}
AFTER_MIDNIGHT = {"SeriesTime": "003000", "AcquisitionTime": "003000"}
ZR = {"RadionuclideHalfLife": str(ZR89), "RadionuclideTotalDose": str(DOSE), "Radiopharmaceutical": "antibody"}
FOUR_DAYS = {**ZR, "RadiopharmaceuticalStartDateTime": "20251229100000"}
GE, PHILIPS = "GE MEDICAL SYSTEMS", "Philips Medical Systems"
OBJECTS: dict[str, Callable[[], Made]] = {
    "DRO_0_0": activity,
    "DRO_1_0": lambda: Made([bq(3600)] * SLICES, {"slopes": [0.5, 1.0, 2.0, 3.0, 0.7]}),
    "DRO_2_0": lambda: suv("BW"),
    "DRO_2_1_0": lambda: suv("LBMJAMES128", "M"),
    "DRO_2_1_1": lambda: suv("LBMJAMES128", "F"),
    "DRO_2_1_2": lambda: suv("LBMJAMES128", "O"),
    "DRO_2_2_0": lambda: suv("IBW", "M"),
    "DRO_2_2_1": lambda: suv("IBW", "F"),
    "DRO_2_2_2": lambda: suv("IBW", "O"),
    "DRO_2_3": lambda: suv("BSA"),
    "DRO_2_4": lambda: counts(0x00, 0.00055, 1.0),
    "DRO_2_5": lambda: counts(0x09, 2.5, bq(3600)),
    "DRO_2_6_0": lambda: suv("LBMJANMA", "M"),
    "DRO_2_6_1": lambda: suv("LBMJANMA", "F"),
    "DRO_2_6_2": lambda: suv("LBMJANMA", "O"),
    "DRO_3_0": lambda: activity(RadionuclideTotalDose="350"),
    "DRO_3_1": lambda: activity(0.0, DecayCorrection="ADMIN"),
    "DRO_3_2_0": lambda: later_series("SIEMENS"),
    "DRO_3_2_1": lambda: later_series(GE),
    "DRO_3_2_2": lambda: later_series(PHILIPS),
    "DRO_3_2_3": lambda: later_series("synthetic"),
    "DRO_3_3_0": lambda: later_series("SIEMENS", private=True),
    "DRO_3_3_1": lambda: later_series(GE, private=True),
    "DRO_3_4_0": lambda: uncorrected("SIEMENS"),
    "DRO_3_4_1": lambda: uncorrected(GE),
    "DRO_3_4_2": lambda: uncorrected(PHILIPS),
    "DRO_3_4_3": lambda: uncorrected("synthetic"),
    "DRO_3_5_0": lambda: activity(Manufacturer="SIEMENS", FrameReferenceTime="600000"),
    "DRO_3_5_1": lambda: activity(Manufacturer=GE, FrameReferenceTime="600000"),
    "DRO_3_5_2": lambda: activity(Manufacturer=PHILIPS, FrameReferenceTime="600000"),
    "DRO_3_5_3": lambda: activity(FrameReferenceTime="600000"),
    "DRO_4_0": lambda: activity(RadiopharmaceuticalStartDateTime=stamp(INJECTED), RadiopharmaceuticalStartTime=None),
    "DRO_4_1": activity,
    "DRO_4_2": lambda: activity(**MIDNIGHT, **AFTER_MIDNIGHT),
    "DRO_4_3": lambda: activity(**{**MIDNIGHT, "RadiopharmaceuticalStartDateTime": "20260101233000"}, **AFTER_MIDNIGHT),
    "DRO_4_4": lambda: activity(
        **{**MIDNIGHT, "RadiopharmaceuticalStartDateTime": "20260101233000"}, **AFTER_MIDNIGHT,
        AcquisitionDate="20000101",
    ),
    "DRO_4_5": lambda: activity(4 * 86400 + 3600.0, ZR89, **FOUR_DAYS),
    "DRO_5_0": lambda: activity(3600, GA68, RadionuclideHalfLife=str(GA68)),
    "DRO_7_0_0": lambda: as_enhanced(activity()),
    "DRO_7_1_0": lambda: as_enhanced(Made([bq(3600)] * SLICES, {"slopes": [0.5, 1.0, 2.0, 3.0, 0.7]})),
    "DRO_7_2_0": lambda: as_enhanced(suv("BW")),
    "DRO_7_3_0": lambda: as_enhanced(activity(), SeriesTime="114500"),
    "DRO_7_3_1": lambda: as_enhanced(
        Made([bq(3600 + 600.0 * k) for k in range(SLICES)], {"DecayCorrected": "NO"}), moments="each"
    ),
    "DRO_error_2_0": lambda: activity(PatientWeight=None),
    "DRO_error_2_1": lambda: activity(PatientWeight="0"),
    "DRO_error_2_2": lambda: _without(suv("IBW"), "PatientSex"),
    "DRO_error_2_3": lambda: _with(suv("IBW"), PatientSex="X"),
    "DRO_error_2_4": lambda: _without(suv("IBW"), "PatientSize"),
    "DRO_error_2_5": lambda: _with(suv("IBW"), PatientSize="0"),
    "DRO_error_2_6": lambda: activity(Units="CNTS"),
    "DRO_error_2_7": lambda: activity(Units="PROPCNTS"),
    "DRO_error_3_0": lambda: activity(RadionuclideTotalDose=None),
    "DRO_error_3_1": lambda: activity(RadionuclideTotalDose="-350000000"),
    "DRO_error_3_2": lambda: _with(later_series("synthetic"), ActualFrameDuration=None),
    "DRO_error_4_0": lambda: activity(RadiopharmaceuticalStartTime=None),
    "DRO_error_4_1": lambda: activity(4 * 86400 + 3600.0, ZR89, **ZR),
    "DRO_error_4_2": lambda: activity(
        4 * 86400 + 3600.0, ZR89, **ZR, RadiopharmaceuticalStartDateTime="19000101000000",
        RadiopharmaceuticalStartTime=None,
    ),
    "DRO_error_5_0": lambda: activity(RadionuclideHalfLife=None),
}  # fmt: skip


def _with(made: Made, **changes: Any) -> Made:
    made.header |= changes
    return made


def _without(made: Made, keyword: str) -> Made:
    return _with(made, **{keyword: None})


def true_suv() -> np.ndarray:
    array = np.ones((8, 8, SLICES))
    array[:2], array[6:, 6:] = 0.2, 4.0
    return array


def write(made: Made, folder: Path, write_series: Callable[..., list[Path]]) -> None:
    header = {
        "PatientWeight": str(WEIGHT), "PatientSize": str(HEIGHT / 100), "PatientSex": "M", "Manufacturer": "synthetic",
        "SeriesDate": "20260102", "AcquisitionDate": "20260102", "SeriesTime": "110000", "AcquisitionTime": "110000",
        "ActualFrameDuration": "180000", "FrameReferenceTime": "0", "RadionuclideTotalDose": str(DOSE),
        "RadionuclideHalfLife": str(F18), **made.header, **made.item,
    }  # fmt: skip
    slopes = np.array(header.pop("slopes", [1.0] * SLICES)) * np.array(made.stored) / 1000.0
    moments, decayed = header.pop("moments", None), header.pop("DecayCorrected", "YES")
    volume = Volume((true_suv() * np.array(made.stored)).astype(np.float64), AFFINE)
    paths = write_series(folder, volume, slopes=[float(f"{s:.10g}") for s in slopes], edit=made.edit, **header)
    if made.enhanced:
        _join(paths, decayed, moments is not None)


def _join(paths: list[Path], decayed: str, each: bool) -> None:
    """Single frames as one enhanced object: what differs from frame to frame in functional groups, units in a real
    world value mapping, corrections in attributes of their own."""
    singles = [pydicom.dcmread(p) for p in paths]
    many = singles[0]
    many.SOPClassUID = many.file_meta.MediaStorageSOPClassUID = pydicom.uid.EnhancedPETImageStorage
    many.AttenuationCorrected, many.DecayCorrected = "YES", decayed
    if decayed == "YES":
        many.DecayCorrectionDateTime = stamp(SCANNED)
    code = {"BQML": "Bq/ml", "GML": "g/ml{SUVbw}"}[many.Units]
    groups = []
    for n, single in enumerate(singles):
        group, content, position, mapping, unit = (Dataset() for _ in range(5))
        moment = SCANNED + timedelta(seconds=600.0 * n if each else 0.0)
        content.FrameAcquisitionDateTime = stamp(moment - timedelta(seconds=90))
        content.FrameReferenceDateTime = stamp(moment)
        content.FrameAcquisitionDuration = 180000.0
        position.ImagePositionPatient = single.ImagePositionPatient
        unit.CodeValue, unit.CodingSchemeDesignator, unit.CodeMeaning = code, "UCUM", "unit"
        mapping.RealWorldValueSlope, mapping.RealWorldValueIntercept = float(single.RescaleSlope), 0.0
        mapping.MeasurementUnitsCodeSequence = [unit]
        group.FrameContentSequence, group.PlanePositionSequence = [content], [position]
        group.RealWorldValueMappingSequence = [mapping]
        groups.append(group)
    shared, measures, orientation = Dataset(), Dataset(), Dataset()
    measures.PixelSpacing, measures.SliceThickness = many.PixelSpacing, many.SliceThickness
    orientation.ImageOrientationPatient = many.ImageOrientationPatient
    shared.PixelMeasuresSequence, shared.PlaneOrientationSequence = [measures], [orientation]
    many.SharedFunctionalGroupsSequence, many.PerFrameFunctionalGroupsSequence = [shared], groups
    many.NumberOfFrames = len(singles)
    many.PixelData = b"".join(s.PixelData for s in singles)
    for keyword in (
        "Units", "SUVType", "CorrectedImage", "DecayCorrection", "RescaleSlope", "RescaleIntercept", "AcquisitionTime",
        "AcquisitionDate", "FrameReferenceTime", "ActualFrameDuration", "ImagePositionPatient", "PixelSpacing",
        "ImageOrientationPatient", "SliceThickness",
    ):  # fmt: skip
        if keyword in many:
            del many[keyword]
    for path in paths[1:]:
        path.unlink()
    many.save_as(paths[0])


def listed() -> list[dict[str, str]]:
    return list(csv.DictReader(TABLE.open(encoding="utf-8"))) if TABLE.is_file() else []


def test_every_object_of_the_list_is_made_here() -> None:
    assert set(OBJECTS) == {row["id"] for row in listed()}
    assert sum(row["expected"] == "refused" for row in listed()) == 15


@pytest.mark.parametrize("name", [row["id"] for row in listed() if row["expected"] != "refused"])
def test_object_gives_its_suv(name: str, tmp_path: Path, write_series: Callable[..., list[Path]]) -> None:
    write(OBJECTS[name](), tmp_path, write_series)
    array = read_exam(tmp_path, name).suv.array
    assert [array.min(), np.median(array), array.max()] == pytest.approx([0.2, 1.0, 4.0], abs=0.005)


@pytest.mark.parametrize("name", [row["id"] for row in listed() if row["expected"] == "refused"])
def test_object_is_refused_with_a_tag(name: str, tmp_path: Path, write_series: Callable[..., list[Path]]) -> None:
    write(OBJECTS[name](), tmp_path, write_series)
    with pytest.raises(ExamError, match=r"\([0-9]{4},[0-9A-Fx]{4}"):
        read_exam(tmp_path, name)
