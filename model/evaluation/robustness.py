"""What a model's texts lose by worse masks: edges moved in and out, masks shifted, another lesion's mask."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray
from scipy import ndimage

from model.evaluation.metrics import DEFAULTS, main_numbers, score, with_others
from model.evaluation.predictions import TableReport, checkpoint_version, samples_version
from pipelines.imaging.masks import save_mask
from pipelines.imaging.problems import ExamError
from pipelines.imaging.volume import Volume, load_nifti
from pipelines.settings import RobustnessSettings, ScoreSettings
from pipelines.tables import schemas
from pipelines.tables.errors import reason_of
from pipelines.tables.hashing import hash_of
from pipelines.tables.home import Home
from pipelines.tables.lake import Lake
from pipelines.tables.provenance import code_version

METRICS_SHOWN = ("BLEU", "ROUGE-L", "CIDEr", "region", "organ", "laterality", "grounding")


@dataclass(frozen=True)
class Variant:
    """One way of changing masks."""

    change: str
    amount_mm: float = 0.0

    @property
    def name(self) -> str:
        """The change with its amount, as people read it."""
        if self.change in ("none", "another lesion"):
            return self.change
        return f"{self.change} {self.amount_mm:+g} mm"


def variants_of(settings: RobustnessSettings) -> list[Variant]:
    """The variants in the order of a curve: as it is, edges, shifts, another lesion's mask."""
    return [
        Variant("none"),
        *(Variant("edge", amount) for amount in settings.margins_mm),
        *(Variant("shift", amount) for amount in settings.shifts_mm),
        Variant("another lesion"),
    ]


@dataclass(frozen=True)
class Box:
    """A mask as its box on a grid: voxels (i, j, k) and the index of the first of them."""

    array: NDArray[np.bool_]
    origin: tuple[int, int, int]


def move_edge(box: Box, shape: Sequence[int], spacing_mm: Sequence[float], margin_mm: float) -> Box | None:
    """The mask grown (or, below 0, shrunk) by a distance in mm, within the image; None where nothing is left."""
    reach = [int(np.ceil(abs(margin_mm) / s)) + 1 for s in spacing_mm]
    padded = np.pad(box.array, [(r, r) for r in reach])
    if margin_mm >= 0:
        moved = ndimage.distance_transform_edt(~padded, sampling=spacing_mm) <= margin_mm
    else:
        # A voxel's distance to the outside is at least its spacing: half a voxel brings it to the mask's edge.
        depth = ndimage.distance_transform_edt(padded, sampling=spacing_mm) - min(spacing_mm) / 2
        moved = depth > -margin_mm
    return _within(moved, [o - r for o, r in zip(box.origin, reach, strict=True)], shape)


def shift(box: Box, shape: Sequence[int], spacing_mm: Sequence[float], distance_mm: float, key: str) -> Box | None:
    """The mask moved by a distance in mm, in a direction that a hash of `key` gives; None outside the image."""
    rng = np.random.default_rng(int(hash_of(key, "direction")[:12], 16))
    direction = rng.normal(size=3)
    direction *= distance_mm / np.linalg.norm(direction)
    steps = np.rint(direction / np.asarray(spacing_mm)).astype(int)
    return _within(box.array, [int(o + s) for o, s in zip(box.origin, steps, strict=True)], shape)


def _within(array: NDArray[np.bool_], origin: Sequence[int], shape: Sequence[int]) -> Box | None:
    """The part of a box inside the image, cut to its voxels."""
    cut = tuple(
        slice(max(0, -o), max(0, min(n, limit - o))) for o, n, limit in zip(origin, array.shape, shape, strict=True)
    )
    inside = array[cut]
    if not inside.any():
        return None
    found = ndimage.find_objects(inside.astype(np.uint8))[0]
    start = [max(0, o) + s.start for o, s in zip(origin, found, strict=True)]
    return Box(np.ascontiguousarray(inside[found]), (start[0], start[1], start[2]))


def dice(a: Box, b: Box) -> float:
    """Overlap of two masks of one grid, 0..1."""
    low = np.maximum(a.origin, b.origin)
    high = np.minimum(np.add(a.origin, a.array.shape), np.add(b.origin, b.array.shape))
    if (high <= low).any():
        return 0.0
    parts = [m.array[tuple(slice(lo - o, hi - o) for lo, hi, o in zip(low, high, m.origin))] for m in (a, b)]
    return float(2 * (parts[0] & parts[1]).sum() / (a.array.sum() + b.array.sum()))


@dataclass(frozen=True)
class Changed:
    """Samples whose masks are a variant's, how alike those are to the lesions' own, and lesions without one."""

    samples: pl.DataFrame
    dice: Mapping[str, float]
    left_out: Mapping[str, list[str]]


def changed_samples(samples: pl.DataFrame, every: pl.DataFrame, variant: Variant, home: Home, folder: Path) -> Changed:
    """Samples of one variant: `mask_path` is the changed mask's (written to `folder`), SUVmax and slice those under it.

    `every` are all findings' samples, out of which the nearest other lesion of an exam is taken.
    """
    rows, alike = [], {}
    left_out: dict[str, list[str]] = {}
    boxes: dict[str, tuple[Volume, Box]] = {}

    def placed(row: Mapping[str, Any]) -> tuple[Volume, Box]:
        if row["mask_path"] not in boxes:
            suv, mask = load_nifti(home.file(row["suv_path"])), load_nifti(home.file(row["mask_path"]))
            i, j, k = (int(n) for n in np.rint(suv.to_ijk(mask.affine[:3, 3])))
            boxes[row["mask_path"]] = suv, Box(np.asarray(mask.array) > 0, (i, j, k))
        return boxes[row["mask_path"]]

    for row in samples.iter_rows(named=True):
        try:
            suv, own = placed(row)
            made: Box | None = own
            reason = ""
            if variant.change == "edge":
                made, reason = move_edge(own, suv.shape, suv.spacing_mm, variant.amount_mm), "eroded away"
            elif variant.change == "shift":
                made, reason = (
                    shift(own, suv.shape, suv.spacing_mm, variant.amount_mm, row["finding_id"]),
                    "moved out of the image",
                )
            elif variant.change == "another lesion":
                others = every.filter(pl.col("exam_id") == row["exam_id"], pl.col("mask_path") != row["mask_path"])
                candidates = [placed(other)[1] for other in others.iter_rows(named=True)]
                made, reason = _nearest(own, candidates, suv.spacing_mm), "alone in their exam"
        except (ExamError, OSError, ValueError) as error:
            made, reason = None, f"without a readable mask ({reason_of(error)})"
        if made is None:
            left_out.setdefault(reason, []).append(row["finding_id"])
            continue
        alike[row["finding_id"]] = dice(own, made)
        rows.append(row | _measured(row, suv, own, made, folder, home, variant))
    return Changed(schemas.frame("samples", rows), alike, left_out)


def _nearest(own: Box, others: Sequence[Box], spacing_mm: Sequence[float]) -> Box | None:
    def centre(box: Box) -> NDArray[np.float64]:
        return (np.argwhere(box.array).mean(axis=0) + box.origin) * spacing_mm

    here = centre(own)
    apart = [other for other in others if dice(own, other) < 1]
    return min(apart, key=lambda other: float(np.linalg.norm(centre(other) - here)), default=None)


def _measured(
    row: Mapping[str, Any], suv: Volume, own: Box, made: Box, folder: Path, home: Home, variant: Variant
) -> dict[str, Any]:
    """What of a sample is another one under a changed mask: its path, SUVmax and slice."""
    if variant.change == "none":
        return {}
    affine = suv.affine.copy()
    affine[:3, 3] = suv.to_ras_mm(made.origin)
    path = save_mask(Volume(made.array.astype(np.uint8), affine), folder / row["exam_id"], row["finding_id"])
    before, now = (_peak(suv, box) for box in (own, made))
    # How slices are counted is the report's convention: what moved to another one is not known by it.
    slice_number = row["slice"] if before[1] == now[1] else None
    return {"mask_path": str(path.relative_to(home.root)), "suvmax": now[0], "slice": slice_number}


def _peak(suv: Volume, box: Box) -> tuple[float, int]:
    """SUVmax under a mask, and its k."""
    where = tuple(slice(o, o + n) for o, n in zip(box.origin, box.array.shape, strict=True))
    values = np.where(box.array, np.asarray(suv.array[where], np.float64), -np.inf)
    at = np.unravel_index(int(values.argmax()), values.shape)
    return float(values.max()), int(at[2]) + box.origin[2]


def update_robustness(
    home: Home,
    checkpoint: Path,
    model_name: str,
    settings: RobustnessSettings = RobustnessSettings(),
    scoring: ScoreSettings = DEFAULTS,
) -> TableReport:
    """The table `robustness` of a checkpoint: its scores under every variant of the masks, in the lake.

    Raises:
        ValueError: no finding is in the split.
        FileNotFoundError: there is no checkpoint.
    """
    lake = Lake(home.lake)
    made_from = {
        "checkpoint": checkpoint_version(checkpoint),
        "samples": samples_version(home),
        "logic": hash_of(code_version(__name__), settings, scoring.n_resamples, scoring.seed, model_name),
    }
    meta = lake.shard_meta("robustness")
    if meta is not None and meta.inputs.get("made_from") == made_from:
        return TableReport(lake.read_table("robustness"), meta.rows_digest, 0, meta.n_rows)
    # Not at module level: where nothing changed, torch is not needed.
    from model.petar.checkpoints import load_checkpoint
    from model.serving.generation import generate

    every = lake.read_table("samples").filter(pl.col("kind") == "finding")
    asked = every.filter(pl.col("split") == settings.split)
    if asked.is_empty():
        raise ValueError(
            f"expected findings in the split {settings.split}, got none of {every.height}: curate more patients or "
            "name another split in [evaluation.robustness]"
        )
    asked = asked.sort(pl.col("finding_id").map_elements(hash_of, return_dtype=pl.String)).head(settings.n_lesions)
    loaded = load_checkpoint(checkpoint)
    lesions = lake.read_table("lesions")
    rows = []
    for variant in variants_of(settings):
        folder = home.robustness / "masks" / variant.name.replace(" ", "_")
        changed = changed_samples(asked, every, variant, home, folder)
        n_left_out = sum(len(found) for found in changed.left_out.values())
        about = {
            **{"model": model_name, "split": settings.split, "variant": variant.name, "change": variant.change},
            **{"amount_mm": variant.amount_mm, "n_left_out": n_left_out},
            "dice": float(np.mean(list(changed.dice.values()))) if changed.dice else None,
            "note": "; ".join(f"{len(found)} {reason}" for reason, found in changed.left_out.items()) or None,
        }
        if changed.samples.is_empty():
            rows += [about | {"metric": metric, "n": 0} for metric in METRICS_SHOWN]
            continue
        predictions = generate(changed.samples, loaded, home, model_name=model_name)
        scores = score(with_others(predictions, every, lesions), METRICS_SHOWN, scoring, (main_numbers(scoring),))
        rows += [
            about | {name: row[name] for name in ("metric", "value", "low", "high", "n")} for row in scores.to_dicts()
        ]
    written = lake.write_table("robustness", schemas.frame("robustness", rows), {"made_from": made_from})
    return TableReport(lake.read_table("robustness"), written.rows_digest, written.n_rows, 0)
