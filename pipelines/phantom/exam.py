"""One exam of the phantom: its lesions, its image, its report, and the truth about every claim of the report."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import date, timedelta

import numpy as np
from numpy.typing import NDArray

from pipelines.imaging.organ_labels import CLASSES
from pipelines.phantom import wording
from pipelines.phantom.acquisition import Acquisition, Extent, Frame, frame_for
from pipelines.phantom.body import UPTAKE, Ellipsoid, Floats, Painted, Patient, paint, part_mask
from pipelines.phantom.exam_files import SUV_STEP
from pipelines.phantom.imaged import Imaged, Truth
from pipelines.phantom.report import Report, ReportedExam, seen_of
from pipelines.phantom.scanner import Change, Scan, Scanner
from pipelines.phantom.sites import SITES, Site
from pipelines.phantom.tumours import (
    Box,
    Maxima,
    Peak,
    Shape,
    Tumour,
    activity,
    at_next_visit,
    axial_size_mm,
    draw_blobs,
    draw_center,
    far_enough,
    fits,
    hot_slices,
    overlap,
    peak_of,
    shape_on,
    subtract,
)

_MIN_SUVMAX = 2.8
_SAFE_ROUNDING = 0.044
"""A lesion whose SUVmax lies farther than this from its tenth is drawn again: storage may move it over the edge of
0.05.
"""
_MAX_ROUNDS = 14


@dataclass(frozen=True)
class PhantomExam:
    """Everything of one exam, before it is stored."""

    exam_id: str
    patient: Patient
    acquisition: Acquisition
    frame: Frame
    painted: Painted
    suv: Floats
    lesions: tuple[Imaged, ...]
    twins: tuple[Tumour, ...]
    findings: str
    impression: str
    study_date: date
    truths: tuple[Truth, ...]
    with_organ_map: bool = True


@dataclass(frozen=True)
class EarlierExam:
    """What of a patient's exam the next one is drawn from: its lesions, and its tracer."""

    lesions: tuple[Imaged, ...]
    tracer: str

    @classmethod
    def of(cls, exam: PhantomExam) -> "EarlierExam":
        """That of an exam."""
        return cls(exam.lesions, exam.acquisition.tracer)


def uptake_for(tracer: str, rng: np.random.Generator) -> dict[str, float]:
    """The tracer's uptake with an exam's own variation (about 12 %; myocardium and urine vary manyfold)."""
    uptake = {tissue: suv * float(np.clip(rng.normal(1, 0.12), 0.75, 1.3)) for tissue, suv in UPTAKE[tracer].items()}
    uptake["myocardium"] *= float(rng.choice([0.5, 0.9, 1.9])) if tracer == "FDG" else 1.0
    uptake["bladder"] *= float(rng.uniform(0.6, 1.6))
    uptake["excreted"] *= float(rng.uniform(0.5, 1.4))
    return uptake


@dataclass(frozen=True)
class Visit:
    """An exam that is to be drawn: of whom, how and when."""

    exam_id: str
    patient: Patient
    acquisition: Acquisition
    study_date: date
    off_axis_mm: float = 6.0
    """How far beside the scanner's axis the patient may lie."""
    lesions: tuple[int, int] = (1, 6)
    """The fewest and the most lesions of a first exam; no later one has more."""


def make_exam(
    visit: Visit,
    earlier: Sequence[Imaged] | None,
    decoys: Sequence[str],
    rng: np.random.Generator,
    twins: np.random.Generator | None = None,
) -> PhantomExam:
    """An exam of a patient; `earlier` are the lesions of the patient's previous exam (None: this is the first one).

    `decoys` names the kinds of sentence that must be rejected (see `DECOYS`). With `twins` (their own generator) there
    is also a pair of lesions, left and right, of one SUVmax on one slice, and a sentence that does not say which.
    """
    patient, acquisition = visit.patient, visit.acquisition
    uptake = uptake_for(acquisition.tracer, rng)
    off_mm = np.array((visit.off_axis_mm, 25, 250))
    shift = tuple(round(float(v), 2) for v in rng.uniform(-off_mm, off_mm))
    frame = frame_for(
        patient,
        acquisition.spacing_mm,
        Extent(acquisition.top_mm, acquisition.bottom_mm),
        shift,  # type: ignore[arg-type]  # three uniform numbers
        acquisition.oblique_deg,
    )
    painted = paint(patient, frame.grid, uptake)
    scan = Scan(painted.suv, acquisition.spacing_mm, Scanner(float(rng.uniform(0.09, 0.15))), rng)
    planned = _plan(visit, earlier, rng)
    builder = _Builder(patient, frame, painted, scan, acquisition.tracer, uptake, rng, visit.lesions[1])
    lesions = builder.place(planned)
    pair = builder.place_twins(twins) if twins is not None else None
    suv = np.round(scan.image / SUV_STEP) * np.float32(SUV_STEP)
    unclear = []
    if pair is not None:
        unclear.append(wording.twins_sentence(seen_of(pair[0], frame.shape[2], None), acquisition.tracer, rng))
    reported = ReportedExam(lesions, builder.physiologic(), Maxima(suv), frame, earlier, acquisition.tracer, uptake)
    findings, impression, truths = Report(reported, decoys, rng).write(unclear)
    return PhantomExam(
        exam_id=visit.exam_id,
        patient=patient,
        acquisition=acquisition,
        frame=frame,
        painted=painted,
        suv=suv,
        lesions=tuple(lesions),
        twins=tuple(i.tumour for i in pair or () if i.tumour is not None),
        findings=findings,
        impression=impression,
        study_date=visit.study_date,
        truths=truths,
    )


def _plan(visit: Visit, earlier: Sequence[Imaged] | None, rng: np.random.Generator) -> list[Tumour | Site]:
    """Lesions that were there before, changed (a Tumour), and lesions to be drawn anew (a Site); at most the visit's
    most."""
    fewest, most = visit.lesions
    known = [at_next_visit(i.tumour, rng) for i in earlier or () if i.tumour is not None]
    planned: list[Tumour | Site] = [tumour for tumour in known if tumour is not None]
    wanted = int(rng.integers(fewest, most + 1)) if earlier is None else int(rng.integers(0, 3))
    for n in range(min(wanted, most - len(planned))):
        planned.append(
            _draw_site(visit.acquisition.tracer, rng, near_hot=earlier is None and n == 0 and rng.random() < 0.35)
        )
    return planned


def _draw_site(tracer: str, rng: np.random.Generator, near_hot: bool = False) -> Site:
    """A site for a new lesion, by organ first: else the spine and the ribs would have most of them."""
    options = [s for s in SITES if tracer in s.tracers]
    if near_hot:
        return _one_of([s for s in options if s.near_hot], rng)
    organs = sorted({s.organ for s in options})
    weights = np.array([3.0 if o in ("lymph node", "lung", "liver") else 1.0 for o in organs])
    organ = organs[int(rng.choice(len(organs), p=weights / weights.sum()))]
    return _one_of([s for s in options if s.organ == organ], rng)


def _one_of(sites: Sequence[Site], rng: np.random.Generator) -> Site:
    """One of the sites."""
    return sites[int(rng.integers(len(sites)))]


@dataclass
class _Placed:
    tumour: Tumour
    shape: Shape
    change: Change
    tries: int = 0


@dataclass
class _Builder:
    """Puts lesions into a scan until each can be told from everything else on its slice."""

    patient: Patient
    frame: Frame
    painted: Painted
    scan: Scan
    tracer: str
    uptake: dict[str, float]
    rng: np.random.Generator
    most: int
    """Lesions at most."""
    placed: list[_Placed] = field(default_factory=list)

    def place(self, planned: Sequence[Tumour | Site]) -> list[Imaged]:
        """The lesions that could be placed and located, in order from the head; at least one."""
        for number, item in enumerate(planned):
            tumour = item if isinstance(item, Tumour) else self._draw(item, self._name(number, item))
            if tumour is None:
                continue
            self._insert(tumour)
            left = self.most - len(self.placed) - (len(planned) - number - 1)
            if isinstance(item, Site) and left > 0 and self.rng.random() < 0.14:
                partner = self._partner(tumour)
                if partner is not None:
                    self._insert(partner)
        imaged = self._settle()
        for number in range(len(planned), len(planned) + 20):
            if imaged:
                break
            site = _draw_site(self.tracer, self.rng)
            tumour = self._draw(site, self._name(number, site))
            if tumour is not None:
                self._insert(tumour)
                imaged = self._settle()
        return sorted(imaged, key=lambda i: -i.peak.ijk[2])

    def place_twins(self, rng: np.random.Generator) -> tuple[Imaged, Imaged] | None:
        """Two lesions that mirror each other, with one SUVmax on one slice that nothing else there has; None where no
        place was found, then nothing has changed.
        """
        self.rng = rng
        pairs = [
            (a, b)
            for a in SITES
            for b in SITES
            if (a.side, b.side) == ("right", "left")
            and (a.organ, a.subsite) == (b.organ, b.subsite)
            and self.tracer in a.tracers
            and self.tracer in b.tracers
        ]
        for attempt in range(60):
            right, left = pairs[int(rng.integers(len(pairs)))]
            tumour = self._draw(right, self._name(90 + attempt, right))
            if tumour is None:
                continue
            x, y, z = tumour.center
            tumour = replace(tumour, core=0.0, gradient=0.0)
            mirrored = replace(tumour, lesion_id=f"{tumour.lesion_id}_twin", site=left, center=(-x, y, z))
            if not self._allowed(mirrored, [p.tumour for p in self.placed] + [tumour], gap_mm=12.0):
                continue
            before = len(self.placed)
            self._insert(tumour)
            self._insert(mirrored)
            seen = self._matched(before)
            if seen is not None:
                del self.placed[before:]
                return seen
            while len(self.placed) > before:
                self.scan.remove(self.placed.pop().change)
        return None

    def _matched(self, before: int) -> tuple[Imaged, Imaged] | None:
        """The two lesions placed last as the image shows them, once the second one has the SUVmax of the first."""
        for _ in range(6):
            if len(self.placed) != before + 2:
                return None
            first, second = self.placed[before:]
            peaks = [peak_of(self.scan.image, p.shape.box, p.shape.mask) for p in (first, second)]
            if peaks[0] is None or peaks[1] is None or peaks[0].ijk[2] != peaks[1].ijk[2]:
                return None
            one, other = peaks[0].suvmax, peaks[1].suvmax
            reported = round(one, 1)
            if one < _MIN_SUVMAX or abs(one - reported) > _SAFE_ROUNDING:
                return None
            if abs(other - one) < 0.02 and abs(other - reported) <= _SAFE_ROUNDING:
                return self._as_twins((first, second), (peaks[0], peaks[1]), reported, before)
            self.scan.remove(self.placed.pop().change)
            self._insert(replace(second.tumour, suv=second.tumour.suv * one / other))
        return None

    def _as_twins(
        self, pair: tuple[_Placed, _Placed], peaks: tuple[Peak, Peak], reported: float, before: int
    ) -> tuple[Imaged, Imaged] | None:
        """The pair where both and nothing else are what the slice and the SUVmax may mean, and no other lesion became
        unclear; else None.
        """
        k = peaks[0].ijk[2]
        found = Maxima(self.scan.image).matching(k, reported)
        if sorted(found) != sorted(p.ijk for p in peaks) or None in self._measure()[:before]:
            return None
        first, second = (
            Imaged(
                p.tumour.lesion_id,
                p.tumour,
                p.shape.box,
                p.shape.mask,
                peak,
                k,
                reported,
                axial_size_mm(p.shape.occupancy > 0.5, self.frame.spacing_mm),
            )
            for p, peak in zip(pair, peaks)
        )
        return first, second

    def _settle(self) -> list[Imaged]:
        """Draws again what cannot be located, some rounds long, and takes out what still cannot."""
        for _ in range(_MAX_ROUNDS):
            failed = [p for p, i in zip(self.placed, self._measure()) if i is None]
            if not failed:
                break
            for placed in failed:
                self._again(placed)
        imaged = self._measure()
        while None in imaged:
            for placed in [p for p, i in zip(self.placed, imaged) if i is None]:
                self.scan.remove(placed.change)
                self.placed.remove(placed)
            imaged = self._measure()
        return [i for i in imaged if i is not None]

    def _name(self, number: int, site: Site) -> str:
        words = "_".join(w for w in (site.side, site.subsite, site.organ) if w).replace(" ", "-")
        return f"{words}_{number}_{int(self.rng.integers(10_000)):04d}"

    def _draw(self, site: Site, lesion_id: str) -> Tumour | None:
        """A new lesion at a site, or None where no place was found."""
        for attempt in range(40):
            center = draw_center(site, self.painted.labels, self.frame.grid, self.rng)
            if center is None:
                return None
            low, high = site.radius_mm
            radius = float(self.rng.uniform(low, low + (high - low) * max(0.15, 1 - attempt / 40)))
            lobulated = radius > 8 and self.rng.random() < 0.35
            blobs = draw_blobs(radius / (1.15 if lobulated else 1), lobulated, self.rng)
            core = float(self.rng.uniform(0.4, 0.6)) if radius > 13 and self.rng.random() < 0.4 else 0.0
            suv = float(np.clip(self.rng.lognormal(np.log(7.0), 0.5), 3.2, 30)) * (1.25 if radius < 8 else 1.0)
            tumour = Tumour(lesion_id, site, center, blobs, suv, core, float(self.rng.uniform(-0.2, 0.2)))
            if self._allowed(tumour, [p.tumour for p in self.placed], gap_mm=12.0):
                return replace(tumour, suv=max(tumour.suv, 2.6 * self._background(tumour)))
        return None

    def _partner(self, tumour: Tumour) -> Tumour | None:
        """A second lesion of the same site that touches the first one, clearly hotter or cooler."""
        for _ in range(25):
            radius = max(6.0, tumour.radius_mm * float(self.rng.uniform(0.7, 1.1)))
            blobs = draw_blobs(radius, False, self.rng)
            direction = self.rng.normal(size=3)
            distance = (tumour.reach_mm + radius) * 0.97
            offset = direction / np.linalg.norm(direction) * distance / np.array(self.patient.scale)
            x, y, z = np.array(tumour.center) + offset
            ratio = float(self.rng.choice([0.72, 1.4]))
            partner = Tumour(
                f"{tumour.lesion_id}_b",
                tumour.site,
                (float(x), float(y), float(z)),
                blobs,
                tumour.suv * ratio,
                touches=tumour.lesion_id,
            )
            side_kept = not tumour.site.side or np.sign(x) == np.sign(tumour.center[0])
            others = [p.tumour for p in self.placed if p.tumour is not tumour]
            if side_kept and self._allowed(partner, others, gap_mm=8.0):
                return partner
        return None

    def _allowed(self, tumour: Tumour, others: Sequence[Tumour], gap_mm: float) -> bool:
        if not far_enough(tumour.center, tumour.reach_mm, others, self.patient.scale, gap_mm):
            return False
        shape = shape_on(tumour, self.frame.grid, self.patient.scale)
        return fits(tumour, shape, self.painted.labels, self.painted.suv, self.frame.grid)

    def _background(self, tumour: Tumour) -> float:
        shape = shape_on(tumour, self.frame.grid, self.patient.scale)
        return float(np.median(self.painted.suv[shape.box][shape.mask]))

    def _insert(self, tumour: Tumour, tries: int = 0) -> None:
        shape = shape_on(tumour, self.frame.grid, self.patient.scale)
        if not fits(tumour, shape, self.painted.labels, self.painted.suv, self.frame.grid):
            return
        occupied = shape.occupancy.copy()
        mask = shape.mask.copy()
        for other in self.placed:
            subtract(occupied, mask, shape.box, other.shape)
        shape = Shape(shape.box, occupied, np.minimum(shape.core, occupied), mask)
        if not mask.any():
            return
        suv = activity(tumour, shape, self._background(tumour))
        self.placed.append(_Placed(tumour, shape, self.scan.add(shape.box, shape.occupancy, suv), tries))

    def _again(self, placed: _Placed) -> None:
        """Draws a lesion's activity again; a new lesion that keeps failing moves somewhere else."""
        self.scan.remove(placed.change)
        self.placed.remove(placed)
        tumour = placed.tumour
        if placed.tries >= 5 and not tumour.touches and not tumour.is_followed:
            moved = self._draw(tumour.site, tumour.lesion_id)
            tumour = moved if moved is not None else tumour
        floor = 2.6 * self._background(tumour)
        suv = max(tumour.suv * float(self.rng.uniform(0.94, 1.14)), min(floor, 3.5))
        self._insert(replace(tumour, suv=suv), placed.tries + 1)

    def _measure(self) -> list[Imaged | None]:
        """What the image shows of each placed lesion; None where it cannot be told from something else."""
        maxima = Maxima(self.scan.image)
        found: list[Imaged | None] = []
        for placed in self.placed:
            found.append(self._see(placed, maxima))
        return found

    def _see(self, placed: _Placed, maxima: Maxima) -> Imaged | None:
        box, mask = placed.shape.box, placed.shape.mask
        peak = peak_of(self.scan.image, box, mask)
        if peak is None or peak.suvmax < _MIN_SUVMAX or abs(peak.suvmax - round(peak.suvmax, 1)) > _SAFE_ROUNDING:
            return None
        slices = hot_slices(self.scan.image, box, mask, peak.suvmax)
        # Reports cite the hottest slice more often than not.
        state = int(peak.suvmax * 1000) % 5
        slice_k = peak.ijk[2] if state < 3 else slices[state % len(slices)]
        reported = round(peak.suvmax, 1)
        if any(not _holds(box, mask, ijk) for ijk in maxima.matching(slice_k, reported)):
            return None
        size = axial_size_mm(placed.shape.occupancy > 0.5, self.frame.spacing_mm)
        return Imaged(placed.tumour.lesion_id, placed.tumour, box, mask, peak, slice_k, reported, size)

    def physiologic(self) -> list[Imaged]:
        """Bladder and renal pelves as they came out: peaks with numbers that a report may state."""
        maxima = Maxima(self.scan.image)
        found = []
        for name, part in self._hot_parts():
            box, mask = part_mask(part, self.frame.grid)
            mask &= self.painted.suv[box] == np.float32(self.uptake[part.tissue])
            around = self.uptake["kidney" if part.tissue == "excreted" else "muscle"]
            if mask.sum() < 8 or self.uptake[part.tissue] < 3 * around:
                continue
            if any(overlap(box, p.shape.box) for p in self.placed):
                continue
            peak = peak_of(self.scan.image, box, mask)
            if peak is None or peak.suvmax < 5 or abs(peak.suvmax - round(peak.suvmax, 1)) > _SAFE_ROUNDING:
                continue
            reported = round(peak.suvmax, 1)
            if all(_holds(box, mask, ijk) for ijk in maxima.matching(peak.ijk[2], reported)):
                found.append(Imaged(name, None, box, mask, peak, peak.ijk[2], reported, (0.0, 0.0)))
        return found

    def _hot_parts(self) -> list[tuple[str, Ellipsoid]]:
        hot = {
            "urinary_bladder": "urinary bladder",
            "kidney_right": "right renal pelvis",
            "kidney_left": "left renal pelvis",
        }
        return [
            (hot[p.label], p)
            for p in self.patient.parts
            if isinstance(p, Ellipsoid) and p.label in hot and p.tissue in ("bladder", "excreted")
        ]


def _holds(box: Box, mask: NDArray[np.bool_], ijk: tuple[int, int, int]) -> bool:
    at = tuple(v - b.start for v, b in zip(ijk, box))
    return all(0 <= v < n for v, n in zip(at, mask.shape)) and bool(mask[at])


def study_date_of(first: date, visit: int) -> date:
    """The date of a patient's visit: about four months from one to the next."""
    return first + timedelta(days=118 * visit)


def organ_at(exam: PhantomExam, ijk: tuple[int, int, int]) -> str:
    """The class of the organ that holds a voxel, empty where there is none."""
    return CLASSES.get(int(exam.painted.labels[ijk]), "")
