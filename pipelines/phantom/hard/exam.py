"""One hard exam: body, lesions, foci, image, report, truth."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import date

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from pipelines.imaging.organ_labels import LABELS
from pipelines.phantom.acquisition import Acquisition, Spacing, frame_for
from pipelines.phantom.body import Patient, Point
from pipelines.phantom.exam import EarlierExam, PhantomExam
from pipelines.phantom.exam_files import SUV_STEP
from pipelines.phantom.hard import reporting
from pipelines.phantom.hard.anatomy import HardBody, draw_body
from pipelines.phantom.hard.foci import add_foci, draw_foci
from pipelines.phantom.hard.posture import at_another_visit, draw_extent, draw_posture
from pipelines.phantom.hard.settings import HardSettings
from pipelines.phantom.hard.sites import CHAINS, MASS_SITES, Chain
from pipelines.phantom.hard.tumours import HardShape, HardTumour, gap_mm, keeps_apart, lies_well, shape_of
from pipelines.phantom.imaged import Imaged, Truth
from pipelines.phantom.scanner import Change, Scan, Scanner
from pipelines.phantom.sites import SITES, Site
from pipelines.phantom.tumours import (
    Maxima,
    Peak,
    at_next_visit,
    axial_size_mm,
    draw_blobs,
    hot_slices,
    peak_of,
    subtract,
)
from pipelines.phantom.wording import Claim, Seen, Sentence, write_findings, write_impression
from pipelines.tables.outcomes import Outcome

_APART_MM = 40.0
"""No peak of its SUV lies so near where a lesion is said to be that the image does not hold."""
Points = NDArray[np.float64]

GRIDS: tuple[Spacing, ...] = (
    (4.0, 4.0, 4.0), (4.07, 4.07, 3.0), (4.07, 4.07, 5.0), (5.47, 5.47, 3.27), (4.69, 4.69, 3.27), (3.65, 3.65, 3.27),
    (3.3, 3.3, 4.0),
)  # fmt: skip
"""Voxel sizes of scanners in use (mm)."""
_SUV_OF = {"FDG": (7.0, 0.55), "DCFPyL": (11.0, 0.7), "DOTATATE": (13.0, 0.6)}
"""Median SUV of lesions by tracer, and the deviation of its logarithm."""
_LEAST_SUVMAX = 2.6
_REPORTED = 0.92
"""Share of the lesions that the report names; of a chain it names every node."""
_ROUNDS = 4


@dataclass(frozen=True)
class HardVisit:
    """A hard exam that is to be drawn: of whom, when, and what the patient's exam before it showed (None: no such)."""

    exam_id: str
    patient: Patient
    study_date: date
    earlier: EarlierExam | None = None


def make_hard_exam(visit: HardVisit, settings: HardSettings, rng: np.random.Generator) -> PhantomExam:
    """A hard exam as written by the cohort. After an earlier exam it has that one's tracer and most of its lesions,
    changed, in another posture and breath, and up to two new ones.
    """
    patient, earlier = visit.patient, visit.earlier
    tracer = settings.tracers[int(rng.integers(len(settings.tracers)))]
    tracer = tracer if earlier is None else earlier.tracer
    edge = settings.spacing_mm
    spacing = GRIDS[int(rng.integers(len(GRIDS)))] if edge is None else (edge, edge, edge)
    posture = draw_posture(rng)
    if earlier is not None:
        posture = at_another_visit(posture, rng)
    extent = draw_extent(posture, rng)
    shift = rng.uniform((-6, -25, -250), (6, 25, 250)).round(2)
    frame = frame_for(patient, spacing, extent, (float(shift[0]), float(shift[1]), float(shift[2])), 0.0)
    body = draw_body(patient, frame.grid, posture, tracer, rng)
    psf = float(rng.uniform(4.5, 6.5))
    scanner = Scanner(float(rng.uniform(0.12, 0.26)), psf, float(rng.uniform(4.0, 6.0)))
    scan = Scan(body.painted.suv, spacing, scanner, rng)
    builder = _Builder(body, patient.scale, spacing, scan, rng)
    if earlier is None:
        builder.place()
    else:
        builder.follow([i.tumour for i in earlier.lesions if isinstance(i.tumour, HardTumour)])
    add_foci(scan, body, draw_foci(body, patient.scale, rng), [p.tumour for p in builder.placed], patient.scale)
    lesions = builder.settle()
    suv = np.round(scan.image / SUV_STEP) * np.float32(SUV_STEP)
    findings, impression, truths = _Report(settings, body, [*lesions, *_bladder(body, scan)], Maxima(suv), rng).write()
    return PhantomExam(
        exam_id=visit.exam_id,
        patient=patient,
        acquisition=Acquisition(spacing_mm=spacing, tracer=tracer, orientation="LPS", ct="same"),
        frame=frame,
        painted=body.painted,
        suv=suv,
        lesions=tuple(lesions),
        twins=(),
        findings=findings,
        impression=impression,
        study_date=visit.study_date,
        truths=truths,
        with_organ_map=bool(rng.random() < settings.organ_maps),
    )


@dataclass
class _Placed:
    tumour: HardTumour
    shape: HardShape
    change: Change


@dataclass
class _Builder:
    """Puts lesions into a scan."""

    body: HardBody
    scale: Point
    spacing_mm: Spacing
    scan: Scan
    rng: np.random.Generator
    placed: list[_Placed] = field(default_factory=list)

    def place(self) -> None:
        """Draws the exam's lesions: some alone, in some exams a mass, in some a chain of nodes."""
        rng = self.rng
        if rng.random() < 0.6:
            self._alone([s for s in MASS_SITES if self.body.tracer in s.tracers])
        if rng.random() < 0.3:
            self._chain(CHAINS[int(rng.integers(len(CHAINS)))], int(rng.integers(3, 12)))
        wanted = int(rng.integers(1, 6))
        tries = 0
        while (wanted > 0 or not self.placed) and tries < 40:
            wanted -= self._alone([s for s in SITES if self.body.tracer in s.tracers])
            tries += 1

    def follow(self, earlier: Sequence[HardTumour]) -> None:
        """Draws the lesions of the patient's exam before, as they are now, and up to two new ones."""
        for tumour in earlier:
            now = at_next_visit(tumour, self.rng)
            if now is not None:
                self._insert(replace(now, center=self.body.posture.apply(now.straight_mm)))
        wanted = int(self.rng.integers(0, 3)) + (not self.placed)
        for _ in range(40):
            if wanted <= 0:
                break
            wanted -= self._alone([s for s in SITES if self.body.tracer in s.tracers])

    def settle(self) -> list[Imaged]:
        """The lesions with a peak of their own in the image, in order from the head. One without, because a hotter
        neighbour or the noise hides it, is made hotter; what stays hidden is taken out.
        """
        for last in (*[False] * _ROUNDS, True):
            hidden = [p for p in self.placed if self._peak(p) is None]
            for placed in hidden:
                self.scan.remove(placed.change)
                self.placed.remove(placed)
                if not last:
                    self._insert(replace(placed.tumour, suv=1.25 * placed.tumour.suv))
            if not hidden:
                break
        imaged = [self._seen(p) for p in self.placed]
        return sorted((i for i in imaged if i is not None), key=lambda i: -i.peak.ijk[2])

    def _peak(self, placed: _Placed) -> Peak | None:
        peak = peak_of(self.scan.image, placed.shape.box, placed.shape.mask)
        return peak if peak is not None and peak.suvmax >= _LEAST_SUVMAX else None

    def _seen(self, placed: _Placed) -> Imaged | None:
        peak = self._peak(placed)
        if peak is None:
            return None
        shape, tumour = placed.shape, placed.tumour
        slices = _run_of(hot_slices(self.scan.image, shape.box, shape.mask, peak.suvmax), peak.ijk[2])
        # Reports cite the hottest slice more often than not.
        slice_k = peak.ijk[2] if self.rng.random() < 0.65 else slices[int(self.rng.integers(len(slices)))]
        size = axial_size_mm(shape.occupancy > 0.5, self.spacing_mm)
        return Imaged(tumour.lesion_id, tumour, shape.box, shape.mask, peak, slice_k, peak.suvmax, size)

    def _alone(self, sites: Sequence[Site]) -> bool:
        """Places a lesion at one of the sites; False where it found no room."""
        organs = sorted({s.organ for s in sites})
        weights = np.array([3.0 if o in ("lymph node", "lung", "liver") else 1.0 for o in organs])
        organ = organs[int(self.rng.choice(len(organs), p=weights / weights.sum()))]
        options = [s for s in sites if s.organ == organ]
        site = options[int(self.rng.integers(len(options)))]
        low, high = 1.2 * site.radius_mm[0], max(site.radius_mm[1], min(1.6 * site.radius_mm[1], 45.0))
        radius = float(self.rng.uniform(low, high))
        for attempt in range(30):
            center = self._center(site)
            if center is None:
                return False
            # Where no place holds one so large, a smaller one may fit.
            tumour = self._drawn(site, center, max(low, radius * 0.93 ** max(0, attempt - 8)), self._suv())
            if keeps_apart(tumour, [p.tumour for p in self.placed], self.scale, 8.0) and self._insert(tumour):
                return True
        return False

    def _chain(self, chain: Chain, count: int) -> None:
        """Places nodes that touch, one after the other, along the path of the chain."""
        path = np.array([self.body.posture.apply(p) for p in chain.path])
        path = np.stack([np.interp(np.linspace(0, 1, 41), np.linspace(0, 1, len(path)), c) for c in path.T], -1)
        suv, nodes = self._suv(), list[HardTumour]()
        others = [p.tumour for p in self.placed]
        for _ in range(count):
            node = self._node(chain, nodes, others, path, suv)
            if node is not None:
                nodes.append(node)

    def _node(
        self, chain: Chain, nodes: Sequence[HardTumour], others: Sequence[HardTumour], path: Points, suv: float
    ) -> HardTumour | None:
        """The next node of a chain, placed beside one of the nodes; None where there is no room."""
        radius = float(self.rng.uniform(6.5, 13.0))
        for _ in range(60):
            base = nodes[-1 - int(self.rng.integers(min(3, len(nodes))))] if nodes else None
            center = path[int(self.rng.integers(10))] if base is None else self._beside(base, radius, path)
            at = (float(center[0]), float(center[1]), float(center[2]))
            node = self._drawn(chain.site, at, radius, suv * float(np.exp(self.rng.normal(0, 0.25))))
            node = replace(node, core=0.0, rough_mm=0.0, touches=base.lesion_id if base else "")
            is_apart = all(gap_mm(node, n, self.scale) > -0.12 * (node.radius_mm + n.radius_mm) for n in nodes)
            if is_apart and keeps_apart(node, others, self.scale, 6.0) and self._insert(node):
                return node
        return None

    def _beside(self, base: HardTumour, radius_mm: float, path: Points) -> NDArray[np.float64]:
        """A place that touches a node: of a few directions, the one that stays nearest to the path."""
        directions = self.rng.normal(size=(8, 3))
        directions /= np.linalg.norm(directions, axis=1, keepdims=True)
        distance = base.radius_mm + radius_mm + self.rng.uniform(-1.5, 0.3, (8, 1))
        spots = base.center + directions * distance / np.array(self.scale)
        far = np.linalg.norm(path[None] - spots[:, None], axis=2).min(1)
        return spots[int(far.argmin())]

    def _center(self, site: Site) -> Point | None:
        grid, labels = self.body.grid, self.body.painted.labels
        if site.point is not None:
            x, y, z = np.array(site.point) + np.clip(self.rng.normal(0, 0.5, 3), -1, 1) * site.spread_mm
            return self.body.posture.apply((float(x), float(y), float(z)))
        voxels = np.flatnonzero(labels == LABELS[site.host])
        if len(voxels) == 0:
            return None
        i, j, k = np.unravel_index(int(self.rng.choice(voxels)), labels.shape)
        return float(grid.x[i]), float(grid.y[j]), float(grid.z[k])

    def _suv(self) -> float:
        median, sigma = _SUV_OF[self.body.tracer]
        return float(np.clip(median * np.exp(self.rng.normal(0, sigma)), 3.2, 60))

    def _drawn(self, site: Site, center: Point, radius_mm: float, suv: float) -> HardTumour:
        """A lesion of this size: its shape, edge, texture and necrosis drawn."""
        rng = self.rng
        is_large = radius_mm > 14
        blobs = draw_blobs(radius_mm / (1.15 if is_large else 1.0), is_large or rng.random() < 0.2, rng)
        core, offset = self._core(radius_mm)
        words = "_".join(w for w in (site.side, site.subsite, site.organ) if w).replace(" ", "-")
        return HardTumour(
            lesion_id=f"{words}_{len(self.placed)}_{int(rng.integers(10_000)):04d}",
            site=site,
            center=center,
            blobs=blobs,
            suv=suv * (1.25 if radius_mm < 8 else 1.0),
            core=core,
            gradient=float(rng.uniform(-0.3, 0.3)),
            edge_mm=min(float(rng.choice([2.0, 4.0, 8.0])), 0.4 * radius_mm),
            rough_mm=float(rng.uniform(0, 0.08)) * radius_mm if radius_mm > 9 else 0.0,
            variation=float(rng.uniform(0.05, 0.4)) if radius_mm > 8 else 0.05,
            grain_mm=float(rng.uniform(6, 18)),
            core_offset_mm=offset,
            seed=int(rng.integers(2**31)),
            straight_mm=self.body.posture.straight(center),
        )

    def _core(self, radius_mm: float) -> tuple[float, Point]:
        """Radius (of the lesion's) and place (mm) of a necrotic core; half of the cores open the rim."""
        rng = self.rng
        if radius_mm < 13 or rng.random() > 0.5:
            return 0.0, (0.0, 0.0, 0.0)
        core = float(rng.uniform(0.35, 0.7))
        is_open = rng.random() < 0.5
        far = rng.uniform(1 - core, 1.25 - core) if is_open else rng.uniform(0, 0.85 - core)
        direction = rng.normal(size=3)
        x, y, z = direction / np.linalg.norm(direction) * radius_mm * far
        return core, (float(x), float(y), float(z))

    def _insert(self, tumour: HardTumour) -> bool:
        """Draws a lesion into the scan where it lies well; what another lesion fills already is left to that one."""
        grid, painted = self.body.grid, self.body.painted
        bare = shape_of(tumour, grid, self.scale, 0.0)
        if bare is None or not lies_well(tumour, bare, painted, self.scale):
            return False
        around = float(np.median(painted.suv[bare.box][bare.mask]))
        tumour = replace(tumour, suv=max(tumour.suv, 2.4 * around))
        shape = shape_of(tumour, grid, self.scale, around)
        assert shape is not None
        occupancy, mask = shape.occupancy.copy(), shape.mask.copy()
        for other in self.placed:
            subtract(occupancy, mask, shape.box, other.shape)
        if mask.sum() < max(4, 0.75 * shape.mask.sum()):
            return False
        shape = replace(shape, occupancy=occupancy, mask=mask)
        self.placed.append(_Placed(tumour, shape, self.scan.add(shape.box, occupancy, shape.suv)))
        return True


def _bladder(body: HardBody, scan: Scan) -> list[Imaged]:
    """The urinary bladder as it came out, where the scan covers it and its hottest voxel is a peak."""
    inside = body.painted.labels == LABELS["urinary_bladder"]
    found = ndimage.find_objects(inside.astype(np.uint8))
    if not found:
        return []
    box = (found[0][0], found[0][1], found[0][2])
    peak = peak_of(scan.image, box, inside[box])
    if peak is None or peak.suvmax < _LEAST_SUVMAX:
        return []
    return [Imaged("urinary bladder", None, box, inside[box], peak, peak.ijk[2], peak.suvmax, (0.0, 0.0))]


def _run_of(slices: Sequence[int], at: int) -> list[int]:
    """Of ascending slices those that lie in one run with `at`: what a reader sees as one hot spot."""
    run = [at]
    for k in slices[slices.index(at) + 1 :]:
        if k == run[-1] + 1:
            run.append(k)
    for k in reversed(slices[: slices.index(at)]):
        if k == run[0] - 1:
            run.insert(0, k)
    return run


@dataclass
class _Report:
    """The report of an exam, and the truth about each of its claims."""

    settings: HardSettings
    body: HardBody
    lesions: Sequence[Imaged]
    maxima: Maxima
    rng: np.random.Generator

    def write(self) -> tuple[str, str, tuple[Truth, ...]]:
        """Findings, impression, truths."""
        tracer, rng = self.body.tracer, self.rng
        mentions = self._mentions()
        station = self.settings.workstation
        sentences = reporting.group_sentences([*mentions, *self._absent()], tracer, station, rng)
        n_k = self.body.painted.labels.shape[2]
        at = [station.shown_slice(self._slice_at(z), n_k) for z in (-640.0, -430.0)]
        uptake = {tissue: suv * station.scale for tissue, suv in self.body.uptake.items()}
        sentences += reporting.reference_sentences(uptake, self.settings.evidence, (at[0], at[1]), rng)
        sentences += self._physiologic()
        mixed = reporting.with_normal(sentences, tracer, rng)
        by_id = {i.lesion_id: i for i in self.lesions}
        truths = [Truth(c, s.text, by_id.get(c.lesion_id), "") for s in mixed for c in s.claims]
        return write_findings(mixed, rng), _impression(mentions, tracer, rng), tuple(truths)

    def _mentions(self) -> list[reporting.Mention]:
        """The lesions that the report names, no pair of numbers twice; at least one where there is any."""
        stated, mentions = set[tuple[int | None, float | None]](), list[reporting.Mention]()
        touches = {i.lesion_id: i.tumour.touches for i in self.lesions if i.tumour is not None and i.tumour.touches}
        chained = {*touches, *touches.values()}
        for imaged in self.lesions:
            if not isinstance(imaged.tumour, HardTumour):
                continue
            in_chain = imaged.lesion_id in chained
            if self.rng.random() > _REPORTED and mentions and not in_chain:
                continue
            numbers, outcome = self._numbers(imaged)
            if (numbers[0] is not None and numbers[0] < 1) or (numbers in stated and numbers != (None, None)):
                continue
            stated.add(numbers)
            tumour = imaged.tumour
            mentions.append(
                reporting.Mention(imaged.lesion_id, tumour.site, *numbers, imaged.size_mm, tumour.core > 0, outcome)
            )
        return mentions

    def _numbers(self, imaged: Imaged) -> tuple[tuple[int | None, float | None], Outcome]:
        """The slice and the SUV that the report gives of a lesion, and what must become of such a mention."""
        station = self.settings.workstation
        evidence = reporting.draw_evidence(self.settings, self.rng)
        gives_slice = evidence in (reporting.Evidence.SLICE_SUV, reporting.Evidence.SLICE)
        gives_suv = evidence in (reporting.Evidence.SLICE_SUV, reporting.Evidence.SUV)
        suv = station.shown_suv(imaged.peak.suvmax, self.rng)
        slice = station.shown_slice(imaged.slice_k, self.body.painted.labels.shape[2]) if gives_slice else None
        return (slice, suv if gives_suv else None), reporting.outcome_of(evidence)

    def _physiologic(self) -> list[Sentence]:
        """In some exams a sentence about the bladder, with its own numbers: a finding like any other."""
        station, n_k = self.settings.workstation, self.body.painted.labels.shape[2]
        sentences = []
        for imaged in self.lesions:
            if imaged.tumour is not None or self.rng.random() > 0.4:
                continue
            suv = station.shown_suv(imaged.peak.suvmax, self.rng)
            slice = None if self.settings.evidence == "suv" else station.shown_slice(imaged.slice_k, n_k)
            if slice is None or slice >= 1:
                claim = Claim(slice, suv, Outcome.LESION, imaged.lesion_id)
                sentences.append(reporting.physiologic_sentence(claim, station, self.rng))
        return sentences

    def _absent(self) -> list[reporting.Mention]:
        """Up to three lesions that the image does not hold: no peak where it is said to be has about their SUV."""
        n_k, station, rng = self.body.painted.labels.shape[2], self.settings.workstation, self.rng
        sites = [s for s in SITES if self.body.tracer in s.tracers]
        mentions = []
        for _ in range(int(rng.integers(0, 4))):
            suv, k = float(rng.uniform(4.5, 26)), int(rng.integers(n_k // 5, 4 * n_k // 5))
            site = sites[int(rng.integers(len(sites)))]
            shown = station.shown_suv(suv, rng)
            slice = None if self.settings.evidence == "suv" else station.shown_slice(k, n_k)
            if (slice is not None and slice < 1) or self._holds(suv, site, None if slice is None else k):
                continue
            size = float(rng.uniform(*site.radius_mm)) * 2
            absent = Outcome.NOT_IN_IMAGE
            mentions.append(reporting.Mention("", site, slice, shown, (size, 0.8 * size), outcome=absent))
        return mentions

    def _holds(self, suv: float, site: Site, k: int | None) -> bool:
        """Whether a peak of about this SUV lies near slice `k`, or without a slice anywhere near the site."""
        grid = self.body.grid
        near = self.maxima.of_suv(suv, max(0.3, 0.03 * suv))
        if k is not None:
            return bool((np.abs(grid.z[near[:, 2]] - grid.z[k]) < _APART_MM).any())
        at = np.stack([grid.x[near[:, 0]], grid.y[near[:, 1]], grid.z[near[:, 2]]], 1)
        if site.point is not None:
            spots = np.array([self.body.posture.apply(site.point)])
        else:
            voxels = np.argwhere(self.body.painted.labels == LABELS[site.host])[::20]
            spots = np.stack([grid.x[voxels[:, 0]], grid.y[voxels[:, 1]], grid.z[voxels[:, 2]]], 1)
        distance = np.linalg.norm(at[:, None] - spots[None], axis=2)
        return bool((distance < _APART_MM).any())

    def _slice_at(self, z_mm: float) -> int:
        return int(np.abs(self.body.grid.z - z_mm).argmin())


def _impression(mentions: Sequence[reporting.Mention], tracer: str, rng: np.random.Generator) -> str:
    seen = [
        Seen(m.lesion_id, m.site, m.slice or 0, m.suvmax or 0.0, m.size_mm, None, False, m.is_necrotic)
        for m in mentions
    ]
    return write_impression(seen, tracer, rng)
