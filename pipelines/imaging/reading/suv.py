"""Standardised uptake values from DICOM attributes: one factor a slice, the rule that gave it, or a refusal that
names the tag.

Nothing here reads a file: the functions take pydicom datasets, so they are tested beside published reference objects.
Rules: QIBA's vendor-neutral pseudo-code and the SUV manual of the oncoray reference objects, as listed in docs/suv.md.
All that a factor is made of is compared over all slices: a series that contradicts itself is refused.
"""

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset

from pipelines.imaging.problems import ExamError
from pipelines.imaging.reading.private_tags import private_value
from pipelines.imaging.reading.radiopharmaceutical import (
    DOSE_UNITS,
    Injection,
    dose_units_of,
    half_life_s_of,
    injection_of,
    tracer_of,
)
from pipelines.imaging.reading.suv_times import (
    Uptake,
    decay_reference,
    joined,
    mean_activity_moment,
    uptake_of,
    zone_of,
)
from pipelines.imaging.reading.values import (
    agreed_number,
    agreed_text,
    number,
    number_of,
    tag_name,
    text_of,
    words_of,
)
from pipelines.settings import Norm, SuvSettings
from pipelines.tables.exam_problems import ExamProblem
from pipelines.tables.safe_text import technical_text


@dataclass(frozen=True)
class SuvScale:
    """How stored pixels become SUV: SUV = pixel * factors[slice], and all that this was computed from (None: not
    stated).

    `dose_units`: the units in which the dose may be stated; the factors are those of the first. `note`: what is to be
    told of the times ('': nothing).
    """

    factors: NDArray[np.float64]
    units: str
    norm: Norm
    rule: str
    decay_correction: str | None
    tracer: str | None
    injected_dose_bq: float | None
    half_life_s: float | None
    weight_kg: float | None
    uptake_s: float | None
    sul_ratio: float | None = None
    """SUV by lean body mass (Janmahasatian) over this SUV; None where the header does not tell."""
    sul_james_ratio: float | None = None
    """The same by the formula of James."""
    dose_units: tuple[str, ...] = ("Bq",)
    note: str = ""


STORED_NORMS = {
    "": Norm.BW,
    "BW": Norm.BW,
    "LBM": Norm.LBM_MORGAN,
    "LBMJAMES128": Norm.LBM_JAMES,
    "LBMJANMA": Norm.LBM_JANMA,
    "BSA": Norm.BSA,
    "IBW": Norm.IBW,
}
"""SUVType (0054,1006) -> norm. Source: DICOM PS3.3 C.8.9.1, with the formula that scanners use for its LBM."""
PHILIPS = "Philips PET Private Group"
GRAMS_ABOVE_KG = 1000.0
LIGHTEST_KG, HEAVIEST_KG = 0.4, 600.0
SHORTEST_CM, TALLEST_CM, METRES_BELOW = 30.0, 260.0, 3.0


def suv_scale(slices: Sequence[Dataset], settings: SuvSettings = SuvSettings()) -> SuvScale:
    """The factor of each slice and its provenance, from the datasets of one PET series in any order.

    Raises ExamError: MISSING_TAG with the tag named, NOT_CORRECTED, UNSUPPORTED_UNITS, BAD_VALUES, UNREADABLE. Never a
    factor of one.
    """
    if not slices:
        raise ExamError(ExamProblem.NO_PET, "expected PET slices, got none: give the series")
    series = _Series(slices, settings)
    units = _units(slices)
    _refuse_uncorrected(slices, series.decay)
    slopes = np.array([_slope(s) for s in slices])
    if units in ("GML", "CM2ML"):
        return series.stored(slopes, units)
    if units == "CNTS":
        return _from_counts(series, slopes)
    if units == "BQML":
        return series.from_activity(slopes, units)
    raise ExamError(
        ExamProblem.UNSUPPORTED_UNITS,
        f"expected Units (0054,1001) of BQML, GML, CM2ML or CNTS, got {technical_text(units)}: export the series in"
        " BQML",
    )


def _units(slices: Sequence[Dataset]) -> str:
    stated = [text_of(s, "Units").upper() for s in slices]
    if "" in stated:
        raise ExamError(
            ExamProblem.MISSING_TAG,
            "Units (0054,1001) is missing: SUV cannot be known without it; export the series in BQML",
        )
    return agreed_text(stated, "Units")


def _refuse_uncorrected(slices: Sequence[Dataset], decay: str) -> None:
    for corrected in {frozenset(words_of(s, "CorrectedImage")) for s in slices}:
        if not corrected:
            raise ExamError(
                ExamProblem.MISSING_TAG,
                "CorrectedImage (0028,0051) is missing: without it attenuation correction is not known",
            )
        said = technical_text(", ".join(sorted(corrected)))
        if "ATTN" not in corrected:
            raise ExamError(
                ExamProblem.NOT_CORRECTED,
                f"CorrectedImage (0028,0051) is {said}, without ATTN: give the attenuation-corrected series",
            )
        if "DECY" not in corrected and decay != "NONE":
            raise ExamError(
                ExamProblem.NOT_CORRECTED,
                f"CorrectedImage (0028,0051) is {said}, without DECY, and DecayCorrection (0054,1102) is"
                f" {technical_text(decay) or 'missing'}: give the decay-corrected series",
            )


def _slope(dataset: Dataset) -> float:
    slope, intercept = number_of(dataset, "RescaleSlope"), number_of(dataset, "RescaleIntercept") or 0.0
    if slope is None or slope <= 0:
        said = "none" if slope is None else f"{slope:g}"
        raise ExamError(
            ExamProblem.MISSING_TAG,
            f"expected a positive RescaleSlope (0028,1053) in each slice, got {said}: export the series again",
        )
    if intercept != 0.0:
        raise ExamError(
            ExamProblem.BAD_VALUES,
            f"expected a RescaleIntercept (0028,1052) of 0 in a PET image, got {intercept:g}: export in BQML",
        )
    return slope


def _from_counts(series: "_Series", slopes: NDArray[np.float64]) -> SuvScale:
    """Counts of Philips, by its SUV factor, else its activity factor (it writes 0 where one is not known)."""
    for element, what in ((0x00, "SUV factor (7053,xx00)"), (0x09, "activity factor (7053,xx09)")):
        found = [number(private_value(s, 0x7053, PHILIPS, element)) for s in series.slices]
        if all(f is not None and f > 0 for f in found):
            factors = slopes * np.array(found, dtype=np.float64)
            if element == 0x00:
                return series.stored(factors, "CNTS", f"Philips {what}")
            return series.from_activity(factors, "CNTS", f"Philips {what}, ")
    raise ExamError(
        ExamProblem.UNSUPPORTED_UNITS,
        "Units (0054,1001) are CNTS and neither Philips factor (7053,1000) or (7053,1009) is there: export the"
        " series with its private tags",
    )


class _Series:
    """The slices of a series, and what of them is asked for more than once."""

    def __init__(self, slices: Sequence[Dataset], settings: SuvSettings) -> None:
        self.slices = slices
        self._norm = settings.norm
        self.decay = agreed_text((text_of(s, "DecayCorrection").upper() for s in slices), "DecayCorrection")

    def stored(self, factors: NDArray[np.float64], units: str, rule: str | None = None) -> SuvScale:
        """An image that is SUV already, converted where it is of another norm than the one asked for."""
        suv_type = agreed_text((text_of(s, "SUVType").upper() for s in self.slices), "SUVType")
        stored = STORED_NORMS.get(suv_type or ("BSA" if units == "CM2ML" else ""))
        if stored is None:
            raise ExamError(
                ExamProblem.UNSUPPORTED_UNITS,
                f"expected SUVType (0054,1006) of {', '.join(sorted(STORED_NORMS)[1:])}, got"
                f" {technical_text(suv_type)}: export in BQML",
            )
        if (stored is Norm.BSA) != (units == "CM2ML") and units != "CNTS":
            raise ExamError(
                ExamProblem.BAD_VALUES,
                f"Units (0054,1001) are {units} and SUVType (0054,1006) is {suv_type or 'missing'}, which"
                " contradict one another: correct one of them, or export in BQML",
            )
        rule = rule or f"stored as SUV {stored.value} ({units})"
        if stored is not self._norm:
            factors = factors * (self._norm_size(self._norm) / self._norm_size(stored))
            rule += f", converted to {self._norm.value}"
        injection = self._injection_or_none()
        dose_units: tuple[str, ...] = ()
        if injection is not None:
            with suppress(ExamError):  # Only for the record: the SUV does not rest on it.
                dose_units = dose_units_of(injection.dose)
        return SuvScale(
            factors=factors,
            units=units,
            norm=self._norm,
            rule=rule,
            decay_correction=self.decay or None,
            tracer=tracer_of(self.slices[0]),
            injected_dose_bq=injection.dose * DOSE_UNITS[dose_units[0]]
            if injection is not None and injection.dose and len(dose_units) == 1
            else None,
            half_life_s=injection.half_life_s if injection is not None else None,
            weight_kg=self._weight_or_none(),
            uptake_s=None,
            sul_ratio=self._ratio_or_none(Norm.LBM_JANMA),
            sul_james_ratio=self._ratio_or_none(Norm.LBM_JAMES),
        )

    def _injection_or_none(self) -> Injection | None:
        """The only administration, for columns that the SUV does not rest on."""
        try:
            injections = injection_of(self.slices)
        except ExamError:
            return None
        return injections[0] if len(injections) == 1 else None

    def _weight_or_none(self) -> float | None:
        try:
            return self._weight_kg()
        except ExamError:
            return None

    def _ratio_or_none(self, norm: Norm) -> float | None:
        """SUV by another norm over the SUV of this series."""
        try:
            return round(self._norm_size(norm) / self._norm_size(self._norm), 4)
        except ExamError:
            return None

    def from_activity(self, bq_per_ml: NDArray[np.float64], units: str, prefix: str = "") -> SuvScale:
        """Activity concentration over dose at the reference time of the decay correction, by the size that the norm
        says."""
        injections = injection_of(self.slices)
        half_life_s = half_life_s_of(injections[0])
        each_unit = [dose_units_of(i.dose) for i in injections]
        dose_units = tuple(u for u in each_unit[0] if all(u in others for others in each_unit))
        if not dose_units:
            raise ExamError(
                ExamProblem.BAD_VALUES,
                "the parts of a split dose, RadionuclideTotalDose (0018,1074), are not in one unit: correct them",
            )
        size = self._norm_size(self._norm)
        rule, left, uptakes = self._decayed(injections, half_life_s)
        # (parts, slices) of what is left of each part of the dose, in the unit that it is stated in.
        stated = np.array([i.dose for i in injections], dtype=np.float64)[:, None]
        dose_then_bq = (stated * left).sum(axis=0) * DOSE_UNITS[dose_units[0]]
        if len(injections) > 1:
            rule += f", split dose of {len(injections)} parts"
        return SuvScale(
            factors=bq_per_ml * size / dose_then_bq,
            units=units,
            norm=self._norm,
            rule=prefix + rule,
            decay_correction=self.decay,
            tracer=tracer_of(self.slices[0]),
            injected_dose_bq=float(stated.sum()) * DOSE_UNITS[dose_units[0]],
            half_life_s=half_life_s,
            weight_kg=self._weight_kg(),
            uptake_s=min((u.seconds for u in uptakes), default=None),
            sul_ratio=self._ratio_or_none(Norm.LBM_JANMA),
            sul_james_ratio=self._ratio_or_none(Norm.LBM_JAMES),
            dose_units=dose_units,
            note=joined(u.note for u in uptakes),
        )

    def _decayed(
        self, injections: Sequence[Injection], half_life_s: float
    ) -> tuple[str, NDArray[np.float64], list[Uptake]]:
        """(rule, part of each dose that is left at the reference time (injection, slice), uptakes)."""
        zone = zone_of(self.slices[0])

        def uptakes_to(moment: datetime) -> list[Uptake]:
            return [uptake_of(moment, i.start_datetime, i.start_time, zone, half_life_s) for i in injections]

        count = len(self.slices)
        if self.decay == "ADMIN":
            return self._as_administered(injections, half_life_s, zone)
        if self.decay == "START":
            scan, rule = decay_reference(self.slices, half_life_s)
            uptakes = uptakes_to(scan)
            left = np.array([[np.exp2(-u.seconds / half_life_s)] * count for u in uptakes])
            return rule, left, uptakes
        if self.decay == "NONE":
            # Not corrected for decay: each frame shows its mean activity, so each slice is brought to its own moment.
            moments = [mean_activity_moment(s, half_life_s) for s in self.slices]
            of_moment = {m: uptakes_to(m) for m in dict.fromkeys(moments)}
            left = np.array(
                [[np.exp2(-of_moment[m][n].seconds / half_life_s) for m in moments] for n in range(len(injections))]
            )
            is_denied = any("DECY" in words_of(s, "CorrectedImage") for s in self.slices)
            denied = ", although CorrectedImage (0028,0051) names DECY" if is_denied else ""
            return (
                f"not decay-corrected (NONE{denied}), each slice to its own time",
                left,
                [u for us in of_moment.values() for u in us],
            )
        if self.decay:
            raise ExamError(
                ExamProblem.NOT_CORRECTED,
                f"expected DecayCorrection (0054,1102) of START, ADMIN or NONE, got {technical_text(self.decay)}:"
                " export the decay-corrected series",
            )
        raise ExamError(
            ExamProblem.MISSING_TAG,
            "DecayCorrection (0054,1102) is missing: the time that the dose decays to is not known; export the original"
            " series",
        )

    def _as_administered(
        self, injections: Sequence[Injection], half_life_s: float, zone: str
    ) -> tuple[str, NDArray[np.float64], list[Uptake]]:
        """The doses as they are; the uptake is for the record alone."""
        if len({(i.start_datetime, i.start_time) for i in injections}) > 1:
            raise ExamError(
                ExamProblem.BAD_VALUES,
                "DecayCorrection (0054,1102) is ADMIN and RadiopharmaceuticalInformationSequence (0054,0016) has"
                " administrations at several times: export the series corrected to the scan's start",
            )
        try:
            scan, _ = decay_reference(self.slices, half_life_s)
            first = injections[0]
            uptakes = [uptake_of(scan, first.start_datetime, first.start_time, zone, half_life_s)]
        except ExamError:
            uptakes = []
        return (
            "decay-corrected to administration (ADMIN)",
            np.ones((len(injections), len(self.slices))),
            uptakes,
        )

    def _weight_kg(self) -> float:
        weight = self._positive("PatientWeight", "add the weight")
        if weight > GRAMS_ABOVE_KG:
            weight /= 1000.0
        if not LIGHTEST_KG <= weight <= HEAVIEST_KG:
            raise ExamError(
                ExamProblem.BAD_VALUES,
                f"PatientWeight (0010,1030) of {weight:g} kg is not a patient's: fix the weight",
            )
        return weight

    def _height_cm(self) -> float:
        height = self._positive("PatientSize", "add the height")
        height_cm = height * 100.0 if height < METRES_BELOW else height
        if not SHORTEST_CM <= height_cm <= TALLEST_CM:
            raise ExamError(
                ExamProblem.BAD_VALUES,
                f"PatientSize (0010,1020) of {height:g} is not a patient's in m: fix the height",
            )
        return height_cm

    def _positive(self, keyword: str, remedy: str) -> float:
        found = agreed_number((number_of(s, keyword) for s in self.slices), keyword)
        if found is None or found <= 0:
            said = "none" if found is None else f"{found:g}"
            raise ExamError(ExamProblem.MISSING_TAG, f"expected a positive {tag_name(keyword)}, got {said}: {remedy}")
        return found

    def _norm_size(self, norm: Norm) -> float:
        """Grams (bw, lbm, ibw) or cm2 (bsa) by which the injected dose is spread.

        LBM with W kg and H cm: Morgan 1.10 W - 120 (W/H)^2 (m), 1.07 W - 148 (W/H)^2 (f); James the same with 128 (m);
        Janmahasatian 9270 W / (6680 + 216 BMI) (m), 9270 W / (8780 + 244 BMI) (f). Du Bois: 0.007184 H^0.725 W^0.425
        m2. Ideal: 48 + 1.06 (H - 152) (m), 45.5 + 0.91 (H - 152) (f). Sex O: the mean of both.
        """
        weight = self._weight_kg()
        if norm is Norm.BW:
            return weight * 1000.0
        height = self._height_cm()
        if norm is Norm.BSA:
            return float(0.007184 * height**0.725 * weight**0.425 * 1e4)
        bmi = weight / (height / 100.0) ** 2
        ratio = (weight / height) ** 2
        by_sex = {
            Norm.LBM_MORGAN: {"M": 1.10 * weight - 120.0 * ratio, "F": 1.07 * weight - 148.0 * ratio},
            Norm.LBM_JAMES: {"M": 1.10 * weight - 128.0 * ratio, "F": 1.07 * weight - 148.0 * ratio},
            Norm.LBM_JANMA: {
                "M": 9270.0 * weight / (6680.0 + 216.0 * bmi),
                "F": 9270.0 * weight / (8780.0 + 244.0 * bmi),
            },
            Norm.IBW: {"M": 48.0 + 1.06 * (height - 152.0), "F": 45.5 + 0.91 * (height - 152.0)},
        }[norm]
        sex = agreed_text((text_of(s, "PatientSex").upper() for s in self.slices), "PatientSex")
        if sex not in ("M", "F", "O"):
            raise ExamError(
                ExamProblem.MISSING_TAG,
                f"expected PatientSex (0010,0040) of M, F or O for SUV {norm.value}, got"
                f" {'another value' if sex else 'none'}: add the sex",
            )
        size = sum(by_sex.values()) / 2.0 if sex == "O" else by_sex[sex]
        if size <= 0:
            raise ExamError(
                ExamProblem.BAD_VALUES,
                f"SUV {norm.value} is not defined for weight {weight} kg and height {height} cm (0010,1030, 0010,1020):"
                " fix them",
            )
        return size * 1000.0
