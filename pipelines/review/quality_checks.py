"""Checks of a curation: each a pure function of tables (and of the files that they name) that
counts wrong rows and shows a sample.

Errors must not occur, warnings need a look. Every check can fail: tests/pipelines/quality
holds a case for each.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

import cc3d
import numpy as np
import polars as pl

from pipelines.catalog.versions import read_accepted, read_history, version_folder
from pipelines.cohort.observation import read_observation
from pipelines.imaging.lesions.flags import MOST_RATIO
from pipelines.imaging.lesions.location import FARTHEST_MIDDLE_MM
from pipelines.imaging.masks import load_mask
from pipelines.imaging.problems import ExamError
from pipelines.imaging.reading.plausibility import lowest_suv
from pipelines.imaging.volume import Volume, load_nifti
from pipelines.review.check_cache import CheckCache, CheckItem
from pipelines.review.drift import check_reject_drift, check_yield_drift, outcomes
from pipelines.review.freshness import check_freshness
from pipelines.review.quality_check_result import CheckResult, Severity, result_of
from pipelines.settings import LesionSettings, ProjectSettings
from pipelines.tables.curation_version import curation_version
from pipelines.tables.errors import reason_of
from pipelines.tables.hashing import hash_of
from pipelines.tables.home import Home
from pipelines.tables.lake import Lake, LakeError
from pipelines.tables.outcomes import Outcome
from pipelines.tables.provenance import code_version
from pipelines.tables.report_fields import OTHER_LANGUAGE

LESIONS = LesionSettings()


def lesions_of(localisations: pl.DataFrame) -> pl.DataFrame:
    """The localisations that are lesions."""
    return localisations.filter(pl.col("outcome") == "lesion")


# Exams


def check_failed_exams(exams: pl.DataFrame) -> CheckResult:
    """No exam is left failed: a failure is no property of the exam, a rerun must fix it."""
    bad = exams.filter(pl.col("status") == "failed").select("exam_id", "message")
    return result_of(
        "failed_exams", "error", "Exams whose processing failed and that a rerun must fix", bad, exams.height
    )


def check_usable_exams(exams: pl.DataFrame, most_unusable: float) -> CheckResult:
    """Not more than a share of the exams is without a volume: beyond it, the cohort or its reading is wrong."""
    bad = exams.filter(pl.col("status") != "ok").select("exam_id", "problem", "message")
    result = result_of(
        "usable_exams", "warning", f"Exams without volume, at most {most_unusable:.0%}", bad, exams.height
    )
    within = bad.height <= most_unusable * exams.height
    return replace(result, passed=within)


def check_reports(exams: pl.DataFrame) -> CheckResult:
    """Every exam has one report that can be read: not missing, empty, twice, or with letters lost."""
    bad = exams.filter(pl.col("report_message").is_not_null()).select("exam_id", "report_message")
    return result_of("reports", "warning", "Exams whose report was odd", bad, exams.height)


def check_geometry(exams: pl.DataFrame, smallest_mm: float = 0.5, largest_mm: float = 12.0) -> CheckResult:
    """Spacings are those of PET scanners, and the voxel's volume is their product."""
    spacing = [pl.col(f"spacing_{axis}_mm") for axis in "ijk"]
    usable = exams.filter(pl.col("status") == "ok")
    product = spacing[0] * spacing[1] * spacing[2] / 1000
    reasons = {
        f"spacing outside {smallest_mm}..{largest_mm} mm": pl.any_horizontal(
            ~s.is_between(smallest_mm, largest_mm) for s in spacing
        ),
        "voxel volume is not the product of the spacings": (pl.col("voxel_ml") - product).abs() > 0.01 * product,
        "fewer than 2 slices": pl.col("n_slices") < 2,
    }
    return _reasons("geometry", "error", "Spacing, voxel volume and slices of the PET", usable, reasons, ["exam_id"])


def check_suv_range(exams: pl.DataFrame, lowest: float = 5.0, highest: float = 1000.0) -> CheckResult:
    """The hottest voxel of an exam is plausible as SUV: under 5 nothing filled the bladder, over 1000 no units are
    right.
    """
    usable = exams.filter(pl.col("status") == "ok")
    reasons = {
        f"largest SUV under {lowest:g}": pl.col("suv_max") < lowest,
        f"largest SUV over {highest:g}": pl.col("suv_max") > highest,
    }
    columns = ["exam_id", "suv_max", "units", "suv_rule"]
    return _reasons("suv_range", "warning", "Largest SUV of an exam", usable, reasons, columns)


def check_ct_grid(exams: pl.DataFrame, home: Home, cache: CheckCache = CheckCache()) -> CheckResult:
    """CT and PET of an exam are on one grid: same shape, same affine."""
    usable = exams.filter((pl.col("status") == "ok") & pl.col("ct_path").is_not_null())

    def item(exam: str, suv_path: Path, ct_path: Path) -> CheckItem:
        return CheckItem(exam, None, (suv_path, ct_path), lambda: _grid_fault(suv_path, ct_path))

    rows = usable.select("exam_id", "suv_path", "ct_path").iter_rows()
    return _checked_files(
        "ct_grid", "PET and CT on one grid", [item(e, home.file(suv), home.file(ct)) for e, suv, ct in rows], cache
    )


def _grid_fault(suv_path: Path, ct_path: Path) -> str | None:
    try:
        suv, ct = load_nifti(suv_path), load_nifti(ct_path)
    except (ExamError, OSError) as error:
        return f"can not be read: {reason_of(error)}"
    if suv.shape != ct.shape:
        return f"PET has shape {suv.shape}, CT {ct.shape}"
    return None if suv.same_grid(ct) else "PET and CT have different affines"


def check_suv_values(exams: pl.DataFrame, home: Home, cache: CheckCache = CheckCache()) -> CheckResult:
    """Volumes are finite, not negative beyond noise, and as large as their row says."""
    usable = exams.filter(pl.col("status") == "ok")

    def item(exam: str, path: Path, suv_max: float | None) -> CheckItem:
        return CheckItem(exam, suv_max, (path,), lambda: _values_fault(path, suv_max))

    rows = usable.select("exam_id", "suv_path", "suv_max").iter_rows()
    return _checked_files(
        "suv_values", "SUV finite and not negative", [item(e, home.file(p), m) for e, p, m in rows], cache
    )


def _values_fault(path: Path, suv_max: float | None) -> str | None:
    try:
        data = load_nifti(path).array
    except (ExamError, OSError) as error:
        return f"can not be read: {reason_of(error)}"
    lowest, highest = float(data.min()), float(data.max())  # NaN comes through both.
    if not np.isfinite([lowest, highest]).all():
        return "SUV that is no finite number"
    if lowest < lowest_suv(highest):
        return f"negative SUV {lowest:.3g}"
    if suv_max is not None and abs(highest - suv_max) > 1e-3 * max(1.0, suv_max):
        return f"largest SUV {highest:.3f}, row says {suv_max:.3f}"
    return None


def _checked_files(name: str, description: str, items: Sequence[CheckItem], cache: CheckCache) -> CheckResult:
    """The result of looking at one item an exam."""
    wrong, n_opened = cache.check(name, items)
    bad = _frame([{"exam_id": item.name, "reason": reason} for item, reason in wrong], "exam_id")
    return replace(result_of(name, "error", description, bad, len(items)), n_opened=n_opened)


def check_files(exams: pl.DataFrame, localisations: pl.DataFrame, home: Home) -> CheckResult:
    """Every file that a row names is there and not empty."""
    named = pl.concat(
        [exams.filter(pl.col("status") == "ok").select("exam_id", path=pl.col(c)) for c in ("suv_path", "ct_path")]
        + [lesions_of(localisations).select("exam_id", path=pl.col("mask_path"))]
    ).drop_nulls("path")
    missing = [not home.holds(path) for path in named["path"]]
    bad = named.filter(pl.Series(missing, dtype=pl.Boolean))
    return result_of("files", "error", "Files that are named but not there", bad, named.height)


# Reports


def check_every_candidate(sentences: pl.DataFrame, findings: pl.DataFrame) -> CheckResult:
    """Every candidate sentence ended in a finding: accepted or with a reason. Nothing disappears."""
    candidates = sentences.filter(pl.col("is_candidate"))
    bad = candidates.join(findings, on="sentence_id", how="anti").select("exam_id", "sentence_id", "sentence")
    return result_of("every_candidate", "error", "Candidate sentences without an outcome", bad, candidates.height)


def check_duplicates(findings: pl.DataFrame) -> CheckResult:
    """No accepted sentence of an exam is there twice."""
    accepted = findings.filter(pl.col("outcome") == "accepted")
    same = ["exam_id", pl.col("sentence").str.to_lowercase().str.replace_all(r"\s+", " "), "slice", "suvmax_reported"]
    # Lesions whose masks are given are told apart by these.
    said = accepted.filter(pl.col("mask_source").fill_null("grown") != "given")
    bad = said.filter(pl.struct(same).is_duplicated()).select("exam_id", "finding_id", "sentence")
    return result_of("duplicates", "error", "Accepted findings that say the same", bad, accepted.height)


def check_reader_errors(readings: pl.DataFrame, most_failed: float = 0.05) -> CheckResult:
    """Not more than a share of a reader's answers failed."""
    readings = readings.filter(~pl.col("error").fill_null("").str.starts_with(OTHER_LANGUAGE))
    share = readings.group_by("reader").agg(
        n=pl.len(), n_failed=pl.col("error").is_not_null().sum(), example=pl.col("error").drop_nulls().first()
    )
    bad = share.filter(pl.col("n_failed") > most_failed * pl.col("n"))
    return result_of(
        "reader_errors", "warning", f"Readers of whose answers over {most_failed:.0%} failed", bad, share.height
    )


def check_all_localised(findings: pl.DataFrame, localisations: pl.DataFrame) -> CheckResult:
    """Every accepted finding was looked for, and nothing else was."""
    accepted = findings.filter(pl.col("outcome") == "accepted")
    lost = accepted.join(localisations, on="finding_id", how="anti")
    stray = localisations.join(accepted, on="finding_id", how="anti")
    bad = pl.concat(
        [
            lost.select("exam_id", "finding_id", reason=pl.lit("accepted and never looked for")),
            stray.select("exam_id", "finding_id", reason=pl.lit("looked for and not accepted")),
        ]
    )
    return result_of("all_localised", "error", "Accepted findings and localisations match", bad, accepted.height)


# Calibration


_SCALE_OFF = 0.003


_NOT_FOUND = (Outcome.NOT_CALIBRATED, Outcome.NOT_IN_IMAGE, Outcome.AMBIGUOUS, Outcome.SLICE_OUTSIDE)
"""Outcomes that another calibration might change."""


def check_calibration(calibration: pl.DataFrame, localisations: pl.DataFrame) -> CheckResult:
    """Reports print the SUVs of their images, and the reading of every exam with a finding that was not found is known.

    Scale 1 and offset 0 may be assumed where every finding was found with them: the description says of how many exams.
    """
    missed = localisations.filter(pl.col("outcome").is_in([o.value for o in _NOT_FOUND]))["exam_id"].unique()
    assumed = pl.col("calibration_source") == "assumed"
    ratio = pl.col("suv_scale")
    cause = (
        pl.when(ratio.is_between(0.6, 0.88))
        .then(pl.lit("SUL (lean body mass) or decay to another time"))
        .when(ratio > 1.12)
        .then(pl.lit("decay to another time, or another norm"))
        .otherwise(pl.lit("another body weight, dose or start of the decay"))
    )
    reasons = pl.concat_str(
        pl.when((ratio - 1).abs() > _SCALE_OFF).then(
            pl.format("reported over measured SUV is {}: {}", ratio.round(3), cause)
        ),
        pl.when(assumed & pl.col("exam_id").is_in(missed.implode())).then(
            pl.lit("too little tells: scale 1 and offset 0 are assumed, and findings were not found with them")
        ),
        pl.when(pl.col("calibration_source") == "none").then(pl.lit("the findings speak against scale 1 and offset 0")),
        separator="; ",
        ignore_nulls=True,
    )
    bad = calibration.select("exam_id", "suv_scale", "slice_offset", "calibration_source", reason=reasons).filter(
        pl.col("reason") != ""
    )
    n_assumed = calibration.filter(
        assumed & pl.col("exam_id").is_in(localisations["exam_id"].unique().implode())
    ).height
    said = f" (scale 1 and offset 0 are assumed of {n_assumed} exams with findings)" if n_assumed else ""
    return result_of("calibration", "warning", f"Reports' numbers against the images{said}", bad, calibration.height)


def check_report_and_image(localisations: pl.DataFrame) -> CheckResult:
    """The findings of an exam with several are likelier of its image than by chance: else report and image disagree."""
    exams = _by_exam(localisations, "belongs_llr")
    bad = exams.filter((pl.col("n") > 1) & (pl.col("belongs_llr") < 1.0))
    return result_of("report_and_image", "warning", "Report and image disagree", bad, exams.height)


def check_exchanged_sides(localisations: pl.DataFrame) -> CheckResult:
    """The findings of no exam fit its image better with left and right exchanged."""
    exams = _by_exam(localisations, "mirrored_llr")
    bad = exams.filter(pl.col("mirrored_llr") > 5.0)
    return result_of("exchanged_sides", "error", "Left and right exchanged", bad, exams.height)


def _by_exam(localisations: pl.DataFrame, column: str) -> pl.DataFrame:
    known = localisations.drop_nulls(column)
    return known.group_by("exam_id", maintain_order=True).agg(pl.len().alias("n"), pl.col(column).first())


# Lesions


def check_suvmax(localisations: pl.DataFrame) -> CheckResult:
    """The measured SUVmax is the reported one within its scale, its noise and what its last digit stands for."""
    lesions = lesions_of(localisations).filter(pl.col("mask_source").fill_null("grown") == "grown")
    whole = pl.col("suvmax_reported") == pl.col("suvmax_reported").round(0)
    step = pl.when(whole).then(1.0).otherwise(0.1)
    digit = pl.when(pl.col("rounding") == "cut").then(step).otherwise(step / 2)
    noise = 4 * pl.col("value_noise").fill_null(0.0) * pl.col("suvmax_reported")
    off = (pl.col("suvmax") * pl.col("suv_scale").fill_null(1.0) - pl.col("suvmax_reported")).abs()
    bad = lesions.filter((off > digit + noise + 0.01) & (pl.col("evidence").fill_null("") != "review"))
    shown = bad.select("exam_id", "finding_id", "suvmax_reported", "suvmax")
    return result_of("suvmax", "error", "Measured SUVmax against the report", shown, lesions.height)


def check_given_masks(exams: pl.DataFrame, localisations: pl.DataFrame, most_off: float = 0.1) -> CheckResult:
    """Every given mask is on its exam's grid and holds what its text says: the SUVmax within a tenth."""
    left_out = exams.drop_nulls("given_message").select("exam_id", reason="given_message")
    given = lesions_of(localisations).filter(pl.col("mask_source").is_in(["given", "corrected"]))
    ratio = pl.col("suvmax") * pl.col("suv_scale").fill_null(1.0) / pl.col("suvmax_reported")
    off = given.filter((ratio - 1.0).abs() > most_off)
    said = pl.format("its text says SUVmax {}, its mask holds {}", "suvmax_reported", pl.col("suvmax").round(2))
    bad = pl.concat([left_out, off.select("exam_id", reason=pl.format("{}: {}", "finding_id", said))])
    n = left_out.height + given.height
    return result_of("given_masks", "warning", "Given masks left out, or with another SUVmax than their text", bad, n)


_SLICES_AWAY = 6
"""A peak is looked for so far from the reported slice."""


def check_slice(localisations: pl.DataFrame) -> CheckResult:
    """The mask reaches the reported slice, and its peak lies in its box."""
    lesions = lesions_of(localisations)
    reasons: dict[str, pl.Expr] = {
        f"mask ends more than {_SLICES_AWAY} slices from the reported one": ~pl.col("slice_k").is_between(
            pl.col("box_k0") - _SLICES_AWAY, pl.col("box_k1") + _SLICES_AWAY, closed="left"
        )
    }
    for axis in "ijk":
        inside = pl.col(f"peak_{axis}").is_between(pl.col(f"box_{axis}0"), pl.col(f"box_{axis}1"), closed="left")
        reasons[f"peak outside the box along {axis}"] = ~inside
    columns = ["exam_id", "finding_id", "slice_k", "box_k0", "box_k1"]
    return _reasons("slice", "error", "Mask and peak against the reported slice", lesions, reasons, columns)


def check_sides(localisations: pl.DataFrame, findings: pl.DataFrame, settings: LesionSettings = LESIONS) -> CheckResult:
    """A finding that says left lies to the left of the middle, and one that says right to its right.

    The middle is that of the body, or of the scanner where that is near, as for the location: a lesion that is right by
    either is right.
    """
    sided = lesions_of(localisations).join(
        findings.filter(pl.col("laterality").is_in(["left", "right"])).select("finding_id", "laterality"),
        on="finding_id",
    )
    body = pl.col("body_middle_mm")
    near = body.is_null() | (body.abs() <= FARTHEST_MIDDLE_MM)
    middles = (body, pl.when(near).then(0.0))
    sign = pl.when(pl.col("laterality") == "right").then(1.0).otherwise(-1.0)
    bad = sided.filter(
        pl.max_horizontal(sign * (pl.col("centroid_x_mm") - middle) for middle in middles) < -settings.midline_mm
    )
    shown = bad.select("exam_id", "finding_id", "laterality", "centroid_x_mm", "body_middle_mm", "sentence")
    return result_of("sides", "error", "Side of the sentence against the image", shown, sided.height)


def check_ranges(
    localisations: pl.DataFrame, largest_ml: float = 2000.0, ratio: tuple[float, float] = (0.1, 0.95)
) -> CheckResult:
    """Volume, threshold over maximum, and background are those of a contour that worked."""
    lesions = lesions_of(localisations)
    threshold = pl.col("threshold_suv") / pl.col("suvmax")
    reasons = {
        f"volume over {largest_ml:g} mL": pl.col("mtv_ml") > largest_ml,
        f"threshold outside {ratio[0]:g}..{ratio[1]:g} of the maximum": ~threshold.is_between(*ratio),
        "background over the threshold": pl.col("background_suv") > pl.col("threshold_suv"),
        "contour did not converge": pl.col("stop_reason") != "converged",
    }
    columns = ["exam_id", "finding_id", "mtv_ml", "suvmax", "threshold_suv", "background_suv", "stop_reason"]
    return _reasons("ranges", "warning", "Volume, threshold and background of the contours", lesions, reasons, columns)


def check_contradictions(localisations: pl.DataFrame) -> CheckResult:
    """No mask lies in an organ that its sentence does not name, none has another size than the sentence says, and none
    touches a region above its threshold, larger than itself, that no finding names.
    """
    lesions = lesions_of(localisations)
    reasons = {
        "a region above its threshold, larger than it, touches it and no finding names it": pl.col("neighbour_ml")
        > pl.col("mtv_ml"),
        "in an organ that the sentence does not name": pl.col("organs_met").fill_null("") != "",
        f"diameter and size in the sentence apart by more than a factor of {MOST_RATIO:g}": ~pl.col(
            "size_ratio"
        ).is_between(1.0 / MOST_RATIO, MOST_RATIO),
    }
    columns = ["exam_id", "finding_id", "organs_met", "size_ratio", "diameter_mm", "mtv_ml", "neighbour_ml", "sentence"]
    return _reasons("contradictions", "warning", "Masks against what the sentence says", lesions, reasons, columns)


def check_border(localisations: pl.DataFrame) -> CheckResult:
    """No lesion is cut by the border of the image: its volume would be too small."""
    lesions = lesions_of(localisations)
    bad = lesions.filter(pl.col("touches_border")).select("exam_id", "finding_id", "mtv_ml")
    return result_of("border", "warning", "Lesions that touch the border of the image", bad, lesions.height)


def check_shared_peaks(localisations: pl.DataFrame) -> CheckResult:
    """Two findings of an exam with one peak say so in `shares_with`."""
    lesions = lesions_of(localisations)
    twice = pl.struct("exam_id", "peak_i", "peak_j", "peak_k").is_duplicated() & pl.col("peak_i").is_not_null()
    bad = lesions.filter(twice & (pl.col("shares_with").fill_null("") == ""))
    shown = bad.select("exam_id", "finding_id", "peak_i", "peak_j", "peak_k")
    return result_of("shared_peaks", "error", "Findings that share a peak and do not say so", shown, lesions.height)


_ASKED_OF_A_MASK = ("mask_path", "mask_source", "n_voxels", "peak_i", "peak_j", "peak_k", "suvmax")


def check_masks(
    localisations: pl.DataFrame, exams: pl.DataFrame, home: Home, cache: CheckCache = CheckCache()
) -> CheckResult:
    """Every mask is not empty, one 6-connected component where it was grown, holds the peak, and its hottest voxel is
    the measured SUVmax.
    """
    lesions = lesions_of(localisations)
    volumes = dict(exams.select("exam_id", "suv_path").iter_rows())

    @lru_cache(maxsize=1)
    def volume(exam: str) -> Volume | None:
        # Findings come exam by exam: one volume at a time is enough, and none where nothing is to be looked at.
        return _volume(home, volumes.get(exam))

    def item(row: Mapping[str, Any]) -> CheckItem:
        suv_path = volumes.get(row["exam_id"])
        files = (home.file(row["mask_path"]), home.file(suv_path) if suv_path else None)
        facts = [row[name] for name in _ASKED_OF_A_MASK]
        return CheckItem(row["finding_id"], facts, files, lambda: _mask_fault(row, volume(row["exam_id"]), home))

    needed = lesions.sort("exam_id", "finding_id").select("exam_id", "finding_id", *_ASKED_OF_A_MASK)
    rows = {row["finding_id"]: row for row in needed.iter_rows(named=True)}
    wrong, n_opened = cache.check("masks", [item(row) for row in rows.values()])
    bad = [{"exam_id": rows[i.name]["exam_id"], "finding_id": i.name, "reason": reason} for i, reason in wrong]
    result = result_of(
        "masks", "error", "Masks against their rows and volumes", _frame(bad, "exam_id", "finding_id"), lesions.height
    )
    return replace(result, n_opened=n_opened)


def _volume(home: Home, path: str | None) -> Volume | None:
    try:
        return load_nifti(home.file(path)) if path else None
    except (ExamError, OSError):
        return None


def _mask_fault(row: Mapping[str, Any], suv: Volume | None, home: Home) -> str | None:
    try:
        mask = load_mask(home.file(row["mask_path"]))
    except (ExamError, OSError) as error:
        return f"mask can not be read: {reason_of(error)}"
    inside = np.asarray(mask.array) > 0
    n_voxels = int(inside.sum())
    if n_voxels == 0:
        return "mask is empty"
    if n_voxels != row["n_voxels"]:
        return f"mask has {n_voxels} voxels, row says {row['n_voxels']}"
    parts = int(cc3d.connected_components(inside, connectivity=6).max())
    if parts != 1 and row["mask_source"] in (None, "grown"):
        return f"mask has {parts} components"
    if suv is None:
        return "the exam's volume can not be read"
    offset = np.linalg.solve(suv.affine, mask.affine)[:3]
    corner = np.rint(offset[:, 3]).astype(int)
    if np.abs(offset[:, 3] - corner).max() > 0.05 or not np.allclose(offset[:, :3], np.eye(3), atol=1e-3):
        return "mask is not on the PET's grid"
    if (corner < 0).any() or (corner + inside.shape > suv.shape).any():
        return "mask lies outside the volume"
    peak = np.array([row["peak_i"], row["peak_j"], row["peak_k"]]) - corner
    if (peak < 0).any() or (peak >= inside.shape).any() or not inside[tuple(peak)]:
        return "mask does not hold the peak"
    i, j, k = (slice(c, c + n) for c, n in zip(corner, inside.shape, strict=True))
    hottest = float(np.asarray(suv.array[i, j, k])[inside].max())
    if abs(hottest - row["suvmax"]) > 0.01 + 1e-3 * row["suvmax"]:
        return f"hottest voxel of the mask has {hottest:.2f} SUV, row says {row['suvmax']:.2f}"
    return None


def check_overlaps(localisations: pl.DataFrame, home: Home, cache: CheckCache = CheckCache()) -> CheckResult:
    """No two lesions of an exam have voxels in common, unless one says that it shares its contour with the other."""

    def look(a: Mapping[str, Any], b: Mapping[str, Any]) -> str | None:
        try:
            n = _common_voxels(load_mask(home.file(a["mask_path"])), load_mask(home.file(b["mask_path"])))
        except (ExamError, OSError):
            return None  # check_masks names it.
        return str(n) if n else None

    n_pairs, pairs, items = 0, {}, []
    for a, b in _pairs(lesions_of(localisations)):
        n_pairs += 1
        if b["finding_id"] in (a["shares_with"] or "") or a["finding_id"] in (b["shares_with"] or ""):
            continue
        name = f"{a['finding_id']} {b['finding_id']}"
        pairs[name] = a, b
        items.append(CheckItem(name, None, (home.file(a["mask_path"]), home.file(b["mask_path"])), partial(look, a, b)))
    wrong, n_opened = cache.check("overlaps", items)
    rows = [
        {"exam_id": a["exam_id"], "finding_id": a["finding_id"], "other": b["finding_id"], "n_voxels": int(n)}
        for (a, b), n in ((pairs[item.name], reason) for item, reason in wrong)
    ]
    frame = _frame(rows, "exam_id", "finding_id", "other", n_voxels=pl.Int64)
    result = result_of("overlaps", "error", "Lesions with voxels in common that do not say so", frame, n_pairs)
    return replace(result, n_opened=n_opened)


def _pairs(lesions: pl.DataFrame) -> Iterator[tuple[dict[str, Any], dict[str, Any]]]:
    """Pairs of lesions of an exam whose boxes meet."""
    for _, part in lesions.sort("exam_id", "finding_id").group_by("exam_id", maintain_order=True):
        rows = part.to_dicts()
        for n, a in enumerate(rows):
            for b in rows[n + 1 :]:
                if all(
                    (a[f"box_{x}0"] or 0) < (b[f"box_{x}1"] or 0) and (b[f"box_{x}0"] or 0) < (a[f"box_{x}1"] or 0)
                    for x in "ijk"
                ):
                    yield a, b


def _common_voxels(a: Volume, b: Volume) -> int:
    shift = np.rint(np.linalg.solve(b.affine, a.affine)[:3, 3]).astype(int)
    at = np.argwhere(np.asarray(a.array) > 0) + shift
    at = at[((at >= 0) & (at < b.shape)).all(axis=1)]
    return int((np.asarray(b.array)[tuple(at.T)] > 0).sum())


# Samples


def check_splits(samples: pl.DataFrame) -> CheckResult:
    """No patient is in two splits."""
    splits = samples.group_by("patient_id").agg(
        splits=pl.col("split").unique().sort().str.join(", "), n=pl.col("split").n_unique()
    )
    bad = splits.filter(pl.col("n") > 1).select("patient_id", "splits")
    return result_of("splits", "error", "Patients in more than one split", bad, splits.height)


def check_samples(samples: pl.DataFrame, localisations: pl.DataFrame) -> CheckResult:
    """Every sample of a finding is a lesion of the curation as it is now."""
    of_findings = samples.filter(pl.col("kind") == "finding")
    bad = of_findings.join(lesions_of(localisations), on="finding_id", how="anti").select("exam_id", "finding_id")
    return result_of("samples", "error", "Samples whose lesion is gone", bad, of_findings.height)


def check_courses(links: pl.DataFrame, largest_percent: float = 30.0) -> CheckResult:
    """What a sentence says of a lesion's change is what its images show, within the 30 % of PERCIST."""
    known = links.filter(pl.col("comparison").is_in(["new", "increased", "decreased", "stable"]))
    change = pl.col("suvmax_change_percent")
    linked = pl.col("state").is_in(["persisting", "split", "merged"])
    says = pl.col("comparison")
    reasons = {
        "said to be new, but it was there before": linked & (says == "new"),
        "said to have increased, but its SUVmax fell": (says == "increased") & (change <= -largest_percent),
        "said to have decreased, but its SUVmax rose": (says == "decreased") & (change >= largest_percent),
        "said to be stable, but its SUVmax changed": (says == "stable") & (change.abs() >= largest_percent),
        "said to have been there before, but it is new": (pl.col("state") == "new") & (says != "new"),
    }
    columns = ["exam_id", "finding_id", "prior_finding_id", "comparison", "state", "suvmax_change_percent"]
    return _reasons("courses", "warning", "Changes that sentences name, against the images", known, reasons, columns)


# Privacy


def check_identifiers(identifiers: pl.DataFrame, most: int = 0) -> CheckResult:
    """No report holds a name, a number or a date of somebody that is not masked."""
    open_ones = identifiers.filter(~pl.col("is_masked"))
    words = "Identifiers in reports: set mask_reports under [privacy] in petar.toml to hide them"
    result = result_of("identifiers", "warning", words, open_ones.select("exam_id", "kind", "n"), identifiers.height)
    return replace(result, passed=int(open_ones["n"].sum()) <= most)


# Lake


def check_uptake(exams: pl.DataFrame, most_half_lives: float = 3.0) -> CheckResult:
    """The scan follows the injection while there is activity to see: after three half-lives an eighth of it is left,
    and the times of injection or scan are more likely wrong.
    """
    usable = exams.filter(pl.col("status") == "ok")
    late = pl.col("uptake_s") > most_half_lives * pl.col("half_life_s")
    columns = ["exam_id", "uptake_s", "half_life_s", "tracer"]
    reasons = {f"uptake over {most_half_lives:g} half-lives": late}
    return _reasons("uptake", "warning", "Time from injection to scan", usable, reasons, columns)


def check_quarantine(quarantine: pl.DataFrame) -> CheckResult:
    """No row broke the contract of its table."""
    bad = quarantine.select("table", "shard", "rules", "exam_id", "row_json")
    return result_of("quarantine", "error", "Rows that broke their table's contract", bad, quarantine.height)


def _reasons(
    name: str,
    severity: Severity,
    description: str,
    rows: pl.DataFrame,
    reasons: Mapping[str, pl.Expr],
    columns: list[str],
) -> CheckResult:
    """Rows for which any of the expressions holds, with all that hold as `reason`; null is no fault."""
    words = [pl.when(wrong.fill_null(False)).then(pl.lit(reason)) for reason, wrong in reasons.items()]
    bad = rows.select(*columns, pl.concat_str(words, separator="; ", ignore_nulls=True).alias("reason"))
    return result_of(name, severity, description, bad.filter(pl.col("reason") != ""), rows.height)


def _frame(rows: list[dict[str, Any]], *columns: str, **types: Any) -> pl.DataFrame:
    schema = dict.fromkeys(columns, pl.String) | (types or {"reason": pl.String})
    return pl.DataFrame(rows, schema=schema)


@dataclass(frozen=True)
class Check:
    """A check by name, the table (as the assets are called) that it is about, and how it is run over a home."""

    name: str
    table: str
    severity: Severity
    run: Callable[[Home, ProjectSettings], CheckResult]
    description: str


def _named(
    function: Callable[..., CheckResult],
    table: str,
    severity: Severity,
    run: Callable[[Home, ProjectSettings], CheckResult],
) -> Check:
    name = function.__name__.removeprefix("check_")
    return Check(name, table, severity, run, (function.__doc__ or "").splitlines()[0])


def _bind(function: Callable[..., CheckResult], table: str, severity: Severity, *tables: str) -> Check:
    """A check of tables alone."""

    def run(home: Home, settings: ProjectSettings) -> CheckResult:
        return function(*(Lake(home.lake).read_table(name) for name in tables))

    return _named(function, table, severity, run)


def _bind_files(function: Callable[..., CheckResult], table: str, severity: Severity, *tables: str) -> Check:
    """A check that opens the files that tables name."""

    def run(home: Home, settings: ProjectSettings) -> CheckResult:
        lake = Lake(home.lake)
        cache = CheckCache(home.checked, settings.quality.reopen_all, code_version(__name__))
        return function(*(lake.read_table(name) for name in tables), home, cache)

    return _named(function, table, severity, run)


def _bind_drift(function: Callable[..., CheckResult]) -> Check:
    """A check of the curation as it is now against the one that was last accepted, or where none was the version
    before; nothing to compare with passes.
    """

    def run(home: Home, settings: ProjectSettings) -> CheckResult:
        tables = ("exams", "findings", "lesions")
        now = outcomes(*(Lake(home.lake).read_table(name) for name in tables))
        version, words = _to_compare_with(home)
        try:
            before = None if version is None else Lake(version_folder(home, version) / "lake")
            then = now.clear() if before is None else outcomes(*(before.read_table(name) for name in tables))
        except LakeError:
            then = now.clear()  # A version of an older schema: its columns mean something else.
        result = function(then, now)
        return replace(result, description=f"{result.description} since {words}" if version else result.description)

    return _named(function, "catalog", "warning", run)


def _to_compare_with(home: Home) -> tuple[str | None, str]:
    """(version, what it is called): the last one that somebody accepted, else the one before the current; None where
    there is none.
    """
    accepted = sorted(read_accepted(home).values(), key=lambda one: one.when)
    if accepted:
        return accepted[-1].version, f"the accepted version {accepted[-1].name}"
    kept = read_history(home)
    return (kept[-2], "the version before") if len(kept) > 1 else (None, "")


def _run_freshness(home: Home, settings: ProjectSettings) -> CheckResult:
    return check_freshness(read_observation(home.manifest), datetime.now(UTC), settings.quality)


def _run_usable_exams(home: Home, settings: ProjectSettings) -> CheckResult:
    return check_usable_exams(Lake(home.lake).read_table("exams"), settings.quality.most_unusable)


def _run_identifiers(home: Home, settings: ProjectSettings) -> CheckResult:
    return check_identifiers(Lake(home.lake).read_table("identifiers"), settings.quality.most_identifiers)


def _run_sides(home: Home, settings: ProjectSettings) -> CheckResult:
    lake = Lake(home.lake)
    return check_sides(lake.read_table("lesions"), lake.read_table("findings"), settings.lesions)


def _run_files(home: Home, settings: ProjectSettings) -> CheckResult:
    lake = Lake(home.lake)
    return check_files(lake.read_table("exams"), lake.read_table("lesions"), home)


CHECKS: tuple[Check, ...] = (
    _named(check_freshness, "exam_manifest", "warning", _run_freshness),
    _bind(check_failed_exams, "exams", "error", "exams"),
    _named(check_usable_exams, "exams", "warning", _run_usable_exams),
    _bind(check_reports, "exams", "warning", "exams"),
    _bind(check_geometry, "exams", "error", "exams"),
    _bind(check_suv_range, "exams", "warning", "exams"),
    _bind(check_uptake, "exams", "warning", "exams"),
    _bind_files(check_ct_grid, "exams", "error", "exams"),
    _bind_files(check_suv_values, "exams", "error", "exams"),
    _bind(check_reader_errors, "readings", "warning", "readings"),
    _bind(check_every_candidate, "findings", "error", "sentences", "findings"),
    _bind(check_duplicates, "findings", "error", "findings"),
    _bind(check_all_localised, "lesions", "error", "findings", "lesions"),
    _named(check_files, "lesions", "error", _run_files),
    _bind(check_suvmax, "lesions", "error", "lesions"),
    _bind(check_given_masks, "lesions", "warning", "exams", "lesions"),
    _bind(check_calibration, "lesions", "warning", "calibration", "lesions"),
    _bind(check_report_and_image, "lesions", "warning", "lesions"),
    _bind(check_exchanged_sides, "lesions", "error", "lesions"),
    _bind(check_slice, "lesions", "error", "lesions"),
    _named(check_sides, "lesions", "error", _run_sides),
    _bind(check_ranges, "lesions", "warning", "lesions"),
    _bind(check_contradictions, "lesions", "warning", "lesions"),
    _bind(check_border, "lesions", "warning", "lesions"),
    _bind(check_shared_peaks, "lesions", "error", "lesions"),
    _bind_files(check_masks, "lesions", "error", "lesions", "exams"),
    _bind_files(check_overlaps, "lesions", "error", "lesions"),
    _named(check_identifiers, "identifiers", "warning", _run_identifiers),
    _bind(check_quarantine, "catalog", "error", "quarantine"),
    _bind_drift(check_yield_drift),
    _bind_drift(check_reject_drift),
    _bind(check_splits, "samples", "error", "samples"),
    _bind(check_samples, "samples", "error", "samples", "lesions"),
    _bind(check_courses, "lesion_links", "warning", "lesion_links"),
)
"""Every check of the tables, in the order of the lineage."""


_SEE_EXAMS = "see their messages (view exams) and correct the files, or leave the exams out"
_CODE = "a fault of the code: curate again, and report it where it stays"
_COMPARE = "compare with the version before (petar query curation_diff): a scanner, reader or template changed"
_REMEDIES: Mapping[str, str] = {
    "freshness": "observe the cohort (petar curate), or see why no exams arrive",
    "failed_exams": "curate again; where it stays, the log of that run has the traceback",
    "usable_exams": _SEE_EXAMS,
    "reports": "see report_message (view exams) and correct the table of reports",
    "geometry": _SEE_EXAMS,
    "suv_range": "see units and suv_rule (view exams): a wrong dose, weight or unit scales an exam as a whole",
    "uptake": "see uptake_s (view exams): compare the times of injection and scan with the originals",
    "ct_grid": "curate the exams again: petar rerun exams --exam ID",
    "suv_values": "curate the exams again: petar rerun exams --exam ID",
    "reader_errors": "see whether the server of the language model runs, then curate again",
    "every_candidate": _CODE,
    "duplicates": _CODE,
    "all_localised": "curate again",
    "files": "files were moved or deleted: petar rerun exams --exam ID, then petar rerun lesions --exam ID",
    "suvmax": "compute the lesions again: petar rerun lesions --exam ID; where it stays, report it",
    "given_masks": "see given_message (view exams); correct the masks, their grids or their texts in the data set",
    "calibration": "see the view calibration; fix what is known in petar.toml ([lesions.calibration])",
    "report_and_image": "see whether the report is of this exam: its id in the table of reports, the exam's files",
    "exchanged_sides": "compare the image's left and right with the report's; correct the files or the report",
    "contradictions": "look at these lesions in the review pages, and correct or reject them in corrections.csv",
    "slice": "compute the lesions again: petar rerun lesions --exam ID; where it stays, report it",
    "sides": "look at these lesions in the review pages; correct the side in corrections.csv, or reject them",
    "ranges": "look at these lesions in the review pages, and reject them in corrections.csv where they are none",
    "border": "look at these lesions in the review pages: the image may end in them",
    "shared_peaks": "look at these lesions in the review pages, and reject one of each pair in corrections.csv",
    "masks": "compute the lesions again: petar rerun lesions --exam ID",
    "overlaps": "look at these lesions in the review pages; report it where both are right",
    "identifiers": "mask the reports (privacy.mask_reports in petar.toml)",
    "quarantine": "see the table quarantine: rows broke their table's contract; report it",
    "yield_drift": _COMPARE,
    "reject_drift": _COMPARE,
    "splits": _CODE,
    "samples": "make the samples again: petar rerun samples",
    "courses": "look at both exams in the review pages; correct a wrong comparison in corrections.csv",
}


def remedy_of(check: str) -> str:
    """What to do where a check of this name fails."""
    return _REMEDIES[check]


def checked_version(home: Home, settings: ProjectSettings) -> str:
    """Changes with the rows that checks look at and with the settings."""
    whole = {table: Lake(home.lake).shard_version(table) for table in ("identifiers", "samples", "lesion_links")}
    return hash_of(curation_version(home), whole, settings)


def run_checks(
    home: Home, table: str | None = None, settings: ProjectSettings = ProjectSettings()
) -> list[CheckResult]:
    """Results of all checks over a home, or of those about one table."""
    return [check.run(home, settings) for check in CHECKS if table is None or check.table == table]
