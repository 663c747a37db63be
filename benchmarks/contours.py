"""Evidence for the default contour: what each contour does on scenes with a known truth. Prints Markdown tables.

usage: python -m benchmarks.contours [--seeds N] [--fwhm MM --fwhm MM ...] [--drawn N] [--only-drawn-from SEED]
       [--only-scanned]

docs/contours.md keeps the figures of the last run. The last two tables are of scanned images in the folder `shared`
beside the checkout, or where PETAR_SHARED says, and left out where there is none.
"""

import os
import tarfile
import tempfile
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from numpy.typing import NDArray
from scipy import ndimage

from benchmarks.imaging_scenes import Ball, NodeSettings, Scene, balls, drawn_nodes, nodes, radius_mm, sphere
from pipelines.imaging.lesions.contour import contour
from pipelines.imaging.lesions.partition import Markers, divide
from pipelines.imaging.lesions.region import Contour, StopReason
from pipelines.imaging.reading.dicom import find_series
from pipelines.imaging.reading.exam import read_exam
from pipelines.imaging.reading.stack import read_stack, stack_of
from pipelines.imaging.volume import Volume, load_nifti
from pipelines.settings import ContourSettings

SPACINGS = ((2.0, 2.0, 2.0), (2.5, 2.5, 2.5), (3.0, 3.0, 3.0), (4.0, 4.0, 4.0), (4.1, 4.1, 3.0))
METHODS = {"published": ContourSettings(method="published"), "adaptive": ContourSettings()}


def dice(a: NDArray[np.bool_], b: NDArray[np.bool_]) -> float:
    """Dice of two masks."""
    return float(2 * (a & b).sum() / max(1, a.sum() + b.sum()))


def mask_of(scene: Scene, label: int, others: Iterable[int], settings: ContourSettings) -> NDArray[np.bool_]:
    """The contour of a lesion on the scene's grid; empty where it was not accepted."""
    peaks = np.array([scene.peak(o) for o in others], dtype=np.int64).reshape(-1, 3)
    return mask_at(scene, scene.peak(label), peaks, settings)


def mask_at(
    scene: Scene, peak: tuple[int, int, int], others: NDArray[np.int64], settings: ContourSettings
) -> NDArray[np.bool_]:
    """The contour around a peak on the scene's grid; empty where it was not accepted."""
    return whole_mask(contour(scene.suv, peak, others, settings), scene.suv)


def whole_mask(made: Contour, suv: Volume) -> NDArray[np.bool_]:
    """A contour on the grid of its image; empty where it was not accepted."""
    mask = np.zeros(suv.shape, dtype=bool)
    if made.stop_reason is StopReason.CONVERGED:
        mask[tuple(slice(c, c + n) for c, n in zip(made.corner, made.mask.shape))] = made.mask
    return mask


def table(head: list[str], rows: list[list[str]]) -> None:
    """Prints a Markdown table."""
    print("| " + " | ".join(head) + " |")
    print("| " + " | ".join("---" for _ in head) + " |")
    for row in rows:
        print("| " + " | ".join(row) + " |")
    print()


def spheres(fwhms: list[float]) -> None:
    """Volume and Dice of spheres over spacings and uptakes."""
    print("### Spheres: error of volume (lowest .. highest), lowest Dice, largest ratio of volumes over the spacings\n")
    rows = []
    for name, settings in METHODS.items():
        for fwhm in fwhms:
            for volume in (1.0, 2.5, 5.0, 10.0, 30.0, 100.0):
                errors, scores, spread, lost = [], [], [], 0
                for suv in (4.0, 8.0, 16.0):
                    found = []
                    for spacing in SPACINGS:
                        scene = sphere(volume, spacing, suv, fwhm, seed=int(10 * volume + suv))
                        mask = mask_of(scene, 1, (), settings)
                        if not mask.any():
                            lost += 1
                            continue
                        found.append(mask.sum() * scene.suv.voxel_ml / volume)
                        scores.append(dice(mask, scene.labels == 1))
                    errors += found
                    if found:
                        spread.append(max(found) / min(found))
                some = (
                    [f"{min(errors) - 1:+.0%} .. {max(errors) - 1:+.0%}", f"{min(scores):.2f}", f"{max(spread):.2f}"]
                    if errors
                    else ["", "", ""]
                )
                rows.append([name, f"{fwhm:g}", f"{volume:g}", *some, f"{lost} of {3 * len(SPACINGS)}"])
    table(["contour", "FWHM mm", "mL", "volume", "Dice", "over spacings", "lost"], rows)


def neighbours(fwhms: list[float]) -> None:
    """Pairs that touch, necrotic centres, hot organs."""
    print("### Neighbours and holes: error of volume, lowest Dice over the spacings\n")
    scenes: dict[str, tuple[list[Ball], list[int], bool]] = {}
    for ml, suv, gap in (((10, 10), (10, 8), 0), ((10, 5), (12, 6), 0), ((20, 5), (8, 8), -2), ((30, 10), (6, 14), 0)):
        a, b = radius_mm(ml[0]), radius_mm(ml[1])
        half = (a + b + gap) / 2
        scenes[f"pair {ml[0]} + {ml[1]} mL, SUV {suv[0]} + {suv[1]}, gap {gap} mm"] = (
            [Ball((60 - half, 45, 45), a, suv[0]), Ball((60 + half, 45, 45), b, suv[1])],
            [1, 2],
            True,
        )
    for part in (0.4, 0.55):
        scenes[f"30 mL, necrotic to {part:g} of the radius"] = (
            [Ball((60, 45, 45), radius_mm(30), 8, part * radius_mm(30), 1.5)],
            [1],
            True,
        )
    for organ, suv, lesion, ml, gap in (
        ("bladder", 40, 8, 10, 3),
        ("bladder", 40, 10, 20, 0),
        ("heart", 6, 12, 10, 0),
        ("brain", 9, 14, 20, 0),
        ("brain", 9, 12, 10, 3),
        ("liver", 9, 10, 5, 0),
    ):
        scenes[f"{ml} mL of SUV {lesion}, {gap} mm from a {organ} of SUV {suv}"] = (
            [Ball((36, 45, 45), 32, suv), Ball((36 + 32 + radius_mm(ml) + gap, 45, 45), radius_mm(ml), lesion)],
            [2],
            False,
        )
    rows = []
    for title, (items, labels, reported) in scenes.items():
        row = [title]
        for settings in METHODS.values():
            errors, scores = [], []
            for fwhm in fwhms:
                for spacing in SPACINGS:
                    scene = balls(items, spacing, fwhm_mm=fwhm)
                    for label in labels:
                        others = [o for o in range(1, len(items) + 1) if o != label] if reported else []
                        mask = mask_of(scene, label, others, settings)
                        truth = scene.labels == label
                        errors.append(mask.sum() / truth.sum() - 1)
                        scores.append(dice(mask, truth))
            row += [f"{min(errors):+.0%} .. {max(errors):+.0%}", f"{min(scores):.2f}"]
        rows.append(row)
    table(["scene", "published: volume", "Dice", "adaptive: volume", "Dice"], rows)


Curve = tuple[float, NDArray[np.float64], NDArray[np.float64]]


def curve_of(
    scene: Scene, label: int, others: list[int], known: dict[int, tuple[int, int, int]] | None = None
) -> Curve:
    """SUVmax of a lesion, and the Dice of its watershed basin at every threshold. known: the peaks, where the labels
    are not those of the nodes."""
    known = known or {n: scene.peak(n) for n in (label, *others)}
    peak = known[label]
    peaks = np.array([known[o] for o in others], dtype=np.int64).reshape(-1, 3)
    top = float(scene.suv.array[peak])
    floor = 0.08 * top + 0.3
    hold = divide(np.ascontiguousarray(scene.suv.array), Markers(peak, peaks), floor).hold_suv
    truth = scene.labels == label
    held = hold > 0
    order = np.argsort(-hold[held])
    hits = np.cumsum(truth[held][order])
    return top, hold[held][order].astype(float), 2 * hits / (np.arange(1, len(hits) + 1) + truth.sum())


def at(curve: Curve, threshold: float) -> float:
    """Dice of a basin at a threshold."""
    index = int(np.searchsorted(-curve[1], -threshold, side="right")) - 1
    return float(curve[2][index]) if index >= 0 else 0.0


SIMPLE = ("41 % of max", "c sqrt(max), fitted", "one SUV, fitted", "each fitted")


def simple_rules(curves: list[Curve]) -> dict[str, float]:
    """Median Dice of simple thresholds inside the watershed basins; the fitted ones with the constant that is best."""

    def median(rule: Callable[[float], float]) -> float:
        return float(np.median([at(c, rule(c[0])) for c in curves]))

    return dict(
        zip(
            SIMPLE,
            (
                median(lambda top: 0.41 * top),
                max(median(lambda top, c=c: c * top**0.5) for c in np.linspace(0.4, 3, 27)),  # type: ignore[misc]
                max(median(lambda top, c=c: c) for c in np.linspace(1.4, 8, 34)),  # type: ignore[misc]
                float(np.median([c[2].max() for c in curves])),
            ),
        )
    )


def clusters(fwhms: list[float], seeds: int) -> None:
    """Clusters of 11 nodes that touch: the contours beside simple thresholds inside the same watershed basins."""
    print(f"### Clusters of 11 nodes that touch: median Dice, mean over {seeds} clusters (lost: of 11, mean)\n")
    rows = []
    for title, changes in {
        "rim of SUV 2.5": {"rim_suv": 2.5},
        "rim of SUV 3.5": {"rim_suv": 3.5},
        "rim of SUV 5": {"rim_suv": 5.0},
        "rim a fifth of the centre": {"rim": 0.2},
        "rim two fifths": {"rim": 0.4},
        "rim seven tenths": {"rim": 0.7},
    }.items():
        for fwhm in fwhms:
            figures: dict[str, list[float]] = {}
            for seed in range(seeds):
                scene = nodes(NodeSettings(fwhm_mm=fwhm, **changes), seed)  # type: ignore[arg-type]  # floats all
                labels = [n for n in range(1, int(scene.labels.max()) + 1) if (scene.labels == n).sum() > 5]
                others = {n: [o for o in labels if o != n] for n in labels}
                for name, settings in METHODS.items():
                    masks = [mask_of(scene, n, others[n], settings) for n in labels]
                    scores = [dice(m, scene.labels == n) for n, m in zip(labels, masks)]
                    figures.setdefault(name, []).append(float(np.median(scores)))
                    figures.setdefault(f"{name} lost", []).append(sum(not m.any() for m in masks))
                for name, value in simple_rules([curve_of(scene, n, others[n]) for n in labels]).items():
                    figures.setdefault(name, []).append(value)
            mean = {k: float(np.mean(v)) for k, v in figures.items()}
            rows.append(
                [title, f"{fwhm:g}"]
                + [f"{mean[k]:.2f}" for k in SIMPLE]
                + [f"{mean[k]:.2f} ({mean[k + ' lost']:.1f})" for k in METHODS]
            )
    head = ["nodes", "FWHM mm", *SIMPLE, *METHODS]
    table(head, rows)


PUBLISHED_FACTS = {
    "41 % of max": (0.59, 0.05),
    "c sqrt(max), fitted": (0.74, 0.05),
    "one SUV, fitted": (0.81, 0.04),
    "each fitted": (0.93, 0.03),
    "published": (0.73, 0.06),
    "found by the published rule": (5.0, 1.5),
}
"""Of a real exam with 11 neck nodes that touch: the median Dice of each contour, how many the published rule finds; and
how near a scene must come."""


def drawn(n: int, nearest: int = 12, first: int = 0) -> None:
    """Of n drawn exams (seeds from `first` on), those that come nearest to what is published of a real one: what each
    contour does there.
    """
    rows: list[dict[str, float]] = []
    for seed in range(first, first + n):
        made = drawn_nodes(seed)
        if made is None or len(np.unique(made[0].labels)) < 12:
            continue
        scene, own = made
        labels = list(range(1, 12))
        peaks = {label: own.peak(label) for label in labels}
        if len(set(peaks.values())) < 11:
            continue
        figures = {"found by the published rule": 0.0}
        for label in labels:
            top = float(scene.suv.array[peaks[label]])
            parts, _ = ndimage.label(scene.suv.array > 0.617 + 0.316 * top)
            part = parts == parts[peaks[label]]
            figures["found by the published rule"] += float(scene.suv.array[part].max() <= top + 0.1)
        for name, settings in METHODS.items():
            scores = []
            for label in labels:
                others = np.array([p for o, p in peaks.items() if o != label])
                mask = mask_at(scene, peaks[label], others, settings)
                scores.append(dice(mask, scene.labels == label))
                figures[f"{name} lost"] = figures.get(f"{name} lost", 0.0) + float(not mask.any())
            figures[name] = float(np.median(scores))
        figures |= simple_rules([curve_of(scene, label, [o for o in labels if o != label], peaks) for label in labels])
        figures["off"] = float(np.mean([((figures[k] - m) / s) ** 2 for k, (m, s) in PUBLISHED_FACTS.items()]))
        rows.append(figures)
    rows = sorted(rows, key=lambda r: r["off"])[:nearest]
    print(
        f"### Drawn exams like the published one: the nearest {len(rows)} of {n}, median Dice of 11, mean over exams\n"
    )
    names = [*PUBLISHED_FACTS, "adaptive"]
    mean = {k: float(np.mean([r[k] for r in rows])) for k in [*names, "adaptive lost", "published lost"]}
    low = min(r["adaptive"] for r in rows)
    part = np.mean([r["adaptive"] >= 0.80 for r in rows])
    table(
        ["", *names],
        [
            ["published of the real exam", *(f"{m:g}" for m, _ in PUBLISHED_FACTS.values()), ""],
            ["drawn", *(f"{mean[k]:.2f}" for k in names)],
        ],
    )
    print(
        f"adaptive: {low:.2f} in the worst, 0.80 and more in {part:.0%}; lost of 11: {mean['adaptive lost']:.1f} "
        f"(published {mean['published lost']:.1f})\n"
    )


NO_OTHERS = np.empty((0, 3), dtype=np.int64)


def hottest(values: NDArray[np.float32], inside: NDArray[np.bool_]) -> tuple[int, int, int]:
    """The hottest voxel of a region."""
    i, j, k = np.unravel_index(int(np.where(inside, values, 0).argmax()), values.shape)
    return int(i), int(j), int(k)


def scanned_spheres(shared: Path) -> None:
    """Volumes of the spheres of the NEMA image-quality phantom, two reconstructions of one scan."""
    print("### NEMA image-quality phantom: spheres with walls, volume in mL\n")
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
            for method, settings in METHODS.items():
                masks = [
                    whole_mask(contour(image, hottest(image.array, labels == n), NO_OTHERS, settings), image)
                    for n in spheres
                ]
                volumes = [f"{m.sum() * image.voxel_ml:.2f}" if m.any() else "lost" for m in masks]
                rows.append([f"{method}, {title}", *volumes])
    table(["truth", "26.52", "11.49", "5.58", "2.57", "1.15", "0.52"], sorted(rows))


def sarcomas(shared: Path) -> None:
    """Dice of contours with the gross tumour volume of soft-tissue sarcomas, which was drawn on MR or CT."""
    print("### Soft-tissue sarcomas: Dice with the gross tumour volume\n")
    rows = []
    for folder in sorted((shared / "cohorts" / "real" / "exams").glob("*")):
        if not (folder / "SEG.nii.gz").is_file():
            continue
        suv = read_exam(folder, folder.name).suv
        truth = load_nifti(folder / "SEG.nii.gz").array > 0
        peak = hottest(suv.array, truth)
        top = float(suv.array[peak])
        made = [whole_mask(contour(suv, peak, NO_OTHERS, s), suv) for s in METHODS.values()]
        values = np.ascontiguousarray(suv.array, dtype=np.float32)
        hold = divide(values, Markers(peak, NO_OTHERS), 0.08 * top + 0.3).hold_suv
        best = max(dice(hold >= t, truth) for t in np.linspace(0.1 * top + 0.3, 0.8 * top, 100))
        rows.append([f"{top:.1f}", *(f"{dice(m, truth):.2f}" for m in made), f"{best:.2f}"])
    table(["SUVmax", "published", "0.45 of the plateau", "adaptive", "best threshold"], rows)


def scanned() -> None:
    """The tables of scanned images, where they are there."""
    shared = Path(os.environ.get("PETAR_SHARED") or Path(__file__).resolve().parents[2] / "shared")
    if not (shared / "data").is_dir():
        print(f"No folder {shared}: the tables of scanned images are left out.")
        return
    scanned_spheres(shared)
    sarcomas(shared)


def main(
    seeds: Annotated[int, typer.Option(help="clusters of each kind")] = 4,
    fwhm: Annotated[list[float] | None, typer.Option(help="blur in mm, once each (default: 5, 6, 7)")] = None,
    n_drawn: Annotated[int, typer.Option("--drawn", help="exams drawn")] = 40,
    only_drawn_from: Annotated[int | None, typer.Option(help="the drawn exams alone, from this seed on")] = None,
    only_scanned: Annotated[bool, typer.Option(help="the tables of scanned images alone")] = False,
) -> None:
    """Prints all tables."""
    if only_scanned:
        scanned()
        return
    if only_drawn_from is not None:
        drawn(n_drawn, first=only_drawn_from)
        return
    fwhm = fwhm or [5.0, 6.0, 7.0]
    spheres(fwhm)
    neighbours(fwhm)
    clusters(fwhm, seeds)
    drawn(n_drawn)
    scanned()


if __name__ == "__main__":
    typer.run(main)
