"""Evidence for the contours: every method at the true peaks of images with a known truth. Prints Markdown.

usage: python -m benchmarks.contours [--only SET ...] [--method NAME ...] [--vary "level=1.0" ...] [--hard SEED ...]
       [--exams N] [--scanned]

A column is a method, or `adaptive` with some of its constants changed (--vary). What a method loses counts as Dice 0.
`best threshold` is the best single threshold of each lesion inside its own part of the image: what no choice of a level
can exceed. docs/contours.md keeps the figures of the last run. Sets of scanned images are read from the folder `shared`
beside the checkout, or where PETAR_SHARED says, and left out where there is none.
"""

import csv
import os
import tarfile
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from numpy.typing import NDArray
from scipy import ndimage

from benchmarks.imaging_scenes import NodeSettings, Scene, drawn_nodes, nodes, sphere
from pipelines.imaging.lesions.contour import NO_ORGANS, Described, ExamOrgans, contour, measured_organs
from pipelines.imaging.lesions.liver import find_liver
from pipelines.imaging.lesions.location_words import has_own_uptake
from pipelines.imaging.lesions.measures import local_peak
from pipelines.imaging.lesions.overlaps import PlacedMask
from pipelines.imaging.lesions.partition import Markers, divide
from pipelines.imaging.lesions.region import Contour, Ijk, StopReason, box_around
from pipelines.imaging.masks import load_mask, place_mask
from pipelines.imaging.reading.dicom import find_series
from pipelines.imaging.reading.exam import read_exam
from pipelines.imaging.reading.stack import read_stack, stack_of
from pipelines.imaging.volume import Volume, load_nifti
from pipelines.phantom import PhantomSettings, write_cohort
from pipelines.phantom.hard import HardSettings
from pipelines.reports.rule_mentions import size_cm
from pipelines.reports.structure import structure
from pipelines.reports.vocabulary.vocabulary import package_vocabulary
from pipelines.settings import ContourSettings

METHODS = ("adaptive", "published", "suvmax_41", "suvpeak_41", "suv_4", "percist")
BEST = "best threshold"
SPHERES = [(ml, suv, fwhm, grid) for ml in (0.5, 1, 2.5, 5, 10, 30, 100) for suv in (4, 8, 16) for fwhm in (5, 6, 7)
           for grid in ((2.0, 2.0, 2.0), (3.0, 3.0, 3.0), (4.1, 4.1, 3.0))]  # fmt: skip
"""mL, SUV, FWHM in mm, voxel in mm."""


@dataclass(frozen=True, eq=False)
class Case:
    """An image, and its lesions: peak, true mask in its box, what the sentence says."""

    suv: Volume
    peaks: tuple[Ijk, ...]
    truths: tuple[PlacedMask, ...]
    described: tuple[Described, ...]
    organs: ExamOrgans = NO_ORGANS

    def others(self, n: int) -> NDArray[np.int64]:
        """Peaks of the other lesions than the n-th, (m, 3)."""
        return np.array(self.peaks[:n] + self.peaks[n + 1 :], dtype=np.int64).reshape(-1, 3)


@dataclass
class Scores:
    """Of a column: Dice, and seconds of one core, a lesion."""

    dices: list[float] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)

    @property
    def shown(self) -> str:
        """Median Dice, and the share under 0.5."""
        return f"{np.median(self.dices):.3f} ({np.mean(np.array(self.dices) < 0.5):.3f})"


def boxed(mask: NDArray[np.bool_]) -> PlacedMask:
    """A mask in its box."""
    (box,) = ndimage.find_objects(mask.view(np.uint8))
    return tuple(b.start for b in box), mask[box]


def dice(made: Contour, truth: PlacedMask) -> float:
    """Dice of a contour with a true mask; 0 where it was not accepted."""
    if made.stop_reason is not StopReason.CONVERGED:
        return 0.0
    low = np.maximum(made.corner, truth[0])
    high = np.minimum(np.add(made.corner, made.mask.shape), np.add(truth[0], truth[1].shape))
    ours, theirs = (
        mask[tuple(slice(a, max(a, b)) for a, b in zip(low - corner, high - corner))]
        for corner, mask in ((made.corner, made.mask), truth)
    )
    return float(2 * (ours & theirs).sum() / (made.mask.sum() + truth[1].sum()))


def scene_case(scene: Scene, labels: Iterable[int], own: Scene | None = None) -> Case:
    """A drawn scene; own: the scene whose labels say where the peaks are."""
    labels = list(labels)
    truths = tuple(boxed(scene.labels == n) for n in labels)
    return Case(scene.suv, tuple((own or scene).peak(n) for n in labels), truths, (Described(),) * len(labels))


def drawn_node_cases(n: int) -> Iterator[Case]:
    """Exams of 11 nodes as readers draw them."""
    for seed in range(n):
        made = drawn_nodes(seed)
        if made is not None and len(np.unique(made[0].labels)) == 12:
            case = scene_case(made[0], range(1, 12), made[1])
            if len(set(case.peaks)) == 11:
                yield case


def cluster_cases(n: int) -> Iterator[Case]:
    """Clusters of 11 nodes that touch, with sharp and gradual rims."""
    for seed in range(n):
        rng = np.random.default_rng(seed)
        fwhm, rim = float(rng.uniform(5, 7.5)), float(rng.uniform(0.2, 0.7))
        scene = nodes(NodeSettings(fwhm_mm=fwhm, rim=rim, rim_suv=3.0 if seed % 2 else None), seed)
        yield scene_case(scene, [n for n in range(1, 12) if (scene.labels == n).sum() > 5])


def sphere_cases() -> Iterator[Case]:
    """Spheres over volume, uptake, blur and grid."""
    for ml, suv, fwhm, grid in SPHERES:
        yield scene_case(sphere(ml, grid, suv, fwhm, seed=int(10 * ml + suv)), [1])


def cohort_cases(cohort: Path) -> Iterator[Case]:
    """The lesions of a cohort with truth.csv, reported ones that have a mask; masks of `truth`, or the exam's SEG."""
    with (cohort / "truth.csv").open(newline="") as file:
        rows = [r for r in csv.DictReader(file) if r["outcome"] == "lesion"]
    for exam_id in sorted({r["exam_id"] for r in rows}):
        folder = cohort / "exams" / exam_id
        if not (cohort / "truth").is_dir() and not (folder / "SEG.nii.gz").is_file():
            continue
        suv = read_exam(folder, exam_id).suv.canonical()
        found: dict[Ijk, tuple[PlacedMask, Described]] = {}
        for row in (r for r in rows if r["exam_id"] == exam_id):
            i, j, k = np.rint(suv.to_ijk(np.array(row["peak_ras_mm"].split(), float))).astype(int)
            if row.get("mask"):
                mask = place_mask(load_mask(cohort / "truth" / f"{row['mask']}.nii.gz"), suv)
            else:
                mask = load_nifti(folder / "SEG.nii.gz").canonical().array > 0
            found.setdefault((int(i), int(j), int(k)), (boxed(mask), described(row.get("sentence") or "")))
        labels = folder / "TOTALSEG.nii.gz"
        organs = ExamOrgans(load_nifti(labels).canonical().array.astype(np.uint8)) if labels.is_file() else NO_ORGANS
        yield Case(
            suv,
            tuple(found),
            tuple(t for t, _ in found.values()),
            tuple(s for _, s in found.values()),
            measured_organs(organs, suv, ContourSettings()),
        )


def described(sentence: str) -> Described:
    """What a sentence says of its lesion."""
    size = size_cm(sentence.lower(), package_vocabulary())
    return Described(None if size is None else 10.0 * size, has_own_uptake(structure(sentence).organ))


def phantom_cases(settings: PhantomSettings, work: Path) -> Iterator[Case]:
    """The lesions of a phantom cohort, which is drawn."""
    folder = work / f"{'even' if settings.hard is None else 'hard'}-{settings.seed}"
    if not folder.is_dir():
        write_cohort(folder, settings)
    yield from cohort_cases(folder)


def best_threshold(case: Case, n: int) -> float:
    """The best Dice of a single threshold in a lesion's own part of the image."""
    truth, suv = case.truths[n], case.suv
    half_mm = 40.0 + 1.2 * float(np.max(np.multiply(truth[1].shape, suv.spacing_mm)))
    box = box_around(suv.shape, case.peaks[n], half_mm, suv.spacing_mm)
    corner = np.array([b.start for b in box])
    at = tuple(int(v) for v in np.array(case.peaks[n]) - corner)
    others = case.others(n) - corner
    values = np.ascontiguousarray(suv.array[box], dtype=np.float32)
    inside = others[((others >= 0) & (others < values.shape)).all(axis=1)]
    top = local_peak(suv, np.array([case.peaks[n]]))
    hold = divide(values, Markers((at[0], at[1], at[2]), inside), 0.12 * top).hold_suv
    is_true = np.zeros(values.shape, dtype=bool)
    ijk = np.argwhere(truth[1]) + np.array(truth[0]) - corner
    is_true[tuple(ijk[((ijk >= 0) & (ijk < values.shape)).all(axis=1)].T)] = True
    order = np.argsort(-hold[hold > 0])
    hits, count = np.cumsum(is_true[hold > 0][order]), np.arange(1, len(order) + 1)
    return float((2 * hits / (count + truth[1].sum())).max()) if len(order) else 0.0


def scored(cases: Iterable[Case], columns: Mapping[str, ContourSettings]) -> dict[str, Scores]:
    """The scores of every column over all lesions of the cases."""
    scores = {name: Scores() for name in (*columns, BEST)}
    for case in cases:
        needs_liver = any(s.method == "percist" for s in columns.values())
        liver = find_liver(case.suv, case.organs.labels) if needs_liver else None
        organs = ExamOrgans(case.organs.labels, liver, case.organs.uptake)
        for n, peak in enumerate(case.peaks):
            for name, settings in columns.items():
                asked = case.suv, peak, case.others(n), settings, organs, case.described[n]
                made = contour(*asked)  # what is compiled is compiled now, and not timed
                begin = time.thread_time()
                contour(*asked)
                scores[name].seconds.append(time.thread_time() - begin)
                scores[name].dices.append(dice(made, case.truths[n]))
            scores[BEST].dices.append(best_threshold(case, n))
    return scores


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """Prints a Markdown table."""
    for row in (head, ["---"] * len(head), *rows):
        print("| " + " | ".join(row) + " |", flush=True)
    print()


def scanned_spheres(shared: Path, columns: Mapping[str, ContourSettings]) -> None:
    """Volumes of the spheres of the NEMA image-quality phantom, two reconstructions of one scan."""
    print("Spheres with walls of the NEMA image-quality phantom: volume in mL\n")
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        with tarfile.open(shared / "data" / "nema-iq" / "data.tar.xz") as archive:
            archive.extractall(folder, filter="data")
        for title, name in (("first", "pet_recon_1"), ("second", "pet_recon_2")):
            stack = stack_of(find_series(Path(folder) / "data" / name)[0])
            activity = read_stack(stack, np.array([float(d.RescaleSlope) for d in stack.datasets]))
            background = float(np.median(activity.array[activity.array > 0.3 * np.percentile(activity.array, 95)]))
            image = Volume((activity.array / background).astype(np.float32), activity.affine)
            labels, count = ndimage.label(ndimage.gaussian_filter(image.array, 1.0) > 2.2)
            size = np.bincount(labels.ravel())
            spheres = sorted((n for n in range(1, count + 1) if size[n] >= 8), key=lambda n: -size[n])
            for column, settings in columns.items():
                volumes = []
                for n in spheres:
                    peak = np.unravel_index(int(np.where(labels == n, image.array, 0).argmax()), image.shape)
                    made = contour(image, tuple(int(v) for v in peak), np.empty((0, 3), np.int64), settings)  # type: ignore[arg-type]  # three axes
                    is_lost = made.stop_reason is not StopReason.CONVERGED
                    volumes.append("lost" if is_lost else f"{made.mask.sum() * image.voxel_ml:.2f}")
                rows.append([f"{column}, {title}", *volumes])
    table(["truth", "26.52", "11.49", "5.58", "2.57", "1.15", "0.52"], sorted(rows))


def sets_of(hard: Sequence[int], exams: int, work: Path, shared: Path) -> dict[str, Callable[[], Iterable[Case]]]:
    """Title -> what gives the cases of a set."""

    def sarcomas(part: int) -> Iterator[Case]:
        return (c for n, c in enumerate(cohort_cases(shared / "cohorts" / "sarcomas")) if n % 2 == part)

    phantoms = {
        f"hard phantom {seed}": lambda seed=seed: phantom_cases(
            PhantomSettings(exams, exams, seed, hard=HardSettings()), work
        )
        for seed in hard
    }
    scanned: dict[str, Callable[[], Iterable[Case]]] = {
        "sarcomas, first half": lambda: sarcomas(0),
        "sarcomas, second half": lambda: sarcomas(1),
        "sarcomas of a second folder": lambda: cohort_cases(shared / "cohorts" / "real"),
    }
    return {
        **(scanned if (shared / "cohorts").is_dir() else {}),
        **phantoms,
        "even phantom": lambda: phantom_cases(PhantomSettings(exams, exams, 900), work),
        "nodes as readers draw them": lambda: drawn_node_cases(24),
        "clusters of 11 nodes": lambda: cluster_cases(12),
        "spheres": sphere_cases,
    }


def columns_of(methods: Sequence[str], varied: Sequence[str]) -> dict[str, ContourSettings]:
    """Title -> settings of every column."""
    columns = {m: ContourSettings.model_validate({"method": m}) for m in methods}
    for change in varied:
        pairs = dict(part.split("=") for part in change.split(","))
        values: dict[str, Any] = {name.strip(): float(value) for name, value in pairs.items()}
        columns[change] = ContourSettings.model_validate(values)
    return columns


def main(
    only: Annotated[list[str] | None, typer.Option(help="sets whose title begins so")] = None,
    method: Annotated[list[str] | None, typer.Option(help="methods (default: all)")] = None,
    vary: Annotated[list[str] | None, typer.Option(help="constants of adaptive, as in level=1.0,fwhm_mm=6")] = None,
    hard: Annotated[list[int] | None, typer.Option(help="seeds of hard phantoms (default: 501, 701)")] = None,
    exams: Annotated[int, typer.Option(help="exams of a phantom")] = 20,
    scanned: Annotated[bool, typer.Option(help="the scanned spheres alone")] = False,
    work: Annotated[Path | None, typer.Option(help="phantoms are drawn here and kept")] = None,
) -> None:
    """Prints the tables."""
    columns = columns_of(method or METHODS, vary or [])
    shared = Path(os.environ.get("PETAR_SHARED") or Path(__file__).resolve().parents[2] / "shared")
    if scanned:
        scanned_spheres(shared, {k: s for k, s in columns.items() if s.method != "percist"})
        return
    with tempfile.TemporaryDirectory() as scratch:
        rows, times = [], []
        for title, cases in sets_of(hard or [501, 701], exams, work or Path(scratch), shared).items():
            if only and not any(title.startswith(o) for o in only):
                continue
            scores = scored(cases(), columns)
            count = str(len(scores[BEST].dices))
            rows.append([title, count, *(scores[name].shown for name in (*columns, BEST))])
            ms = [1000 * np.percentile(scores[name].seconds, (50, 95)) for name in columns]
            times.append([title, *(f"{a:.1f}, {b:.1f}" for a, b in ms)])
            print(f"{title}: done", flush=True)
        print("\nMedian Dice at the true peaks, lost = 0 (share under 0.5)\n")
        table(["", "lesions", *columns, BEST], rows)
        print("Milliseconds of one core a lesion: median, 95th percentile\n")
        table(["", *columns], times)


if __name__ == "__main__":
    typer.run(main)
