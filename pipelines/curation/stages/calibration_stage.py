"""Calibration: how each exam's report is read against its image, from the likelihoods of its exam, its scanner and the
whole cohort."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from pipelines.curation.stages.curation import Curation
from pipelines.curation.stages.incremental import Rows
from pipelines.curation.stages.likelihood_files import exam_file, load, shard_file
from pipelines.curation.stages.stage import ShardContext, ShardStage
from pipelines.imaging.lesions.calibration import (
    OTHER_NORM,
    UNIT,
    Calibration,
    CalibrationSource,
    Estimate,
    Likelihood,
    Reading,
    Rounding,
    SliceSpread,
    calibrate,
    conventions_of,
    estimate,
    log_prior,
    no_likelihood,
)
from pipelines.settings import LesionSettings, Origin, SliceConvention, SliceGridKind
from pipelines.tables.accepted_versions import accepted_folder
from pipelines.tables.hashing import hash_of
from pipelines.tables.home import Home
from pipelines.tables.lake import Lake
from pipelines.tables.shards import N_SHARDS


@dataclass(frozen=True)
class PooledEstimates:
    """What the sums over the cohort and over each scanner decide, by the predicted scale that they are relative to."""

    cohort: Mapping[str, Estimate]
    scanners: Mapping[str, Mapping[str, Estimate]]

    def of(self, scanner: str, predicted: Mapping[str, float]) -> list[tuple[CalibrationSource, Estimate]]:
        """The decided estimates for an exam of a scanner, the nearest first, in the exam's own scale."""
        found = []
        for source, sums in (
            (CalibrationSource.SCANNER, self.scanners.get(scanner, {})),
            (CalibrationSource.COHORT, self.cohort),
        ):
            decided = {name: e for name, e in sums.items() if e.decided}
            if decided:
                name = max(decided, key=lambda n: decided[n].llr)
                scale = 1.0 if name == UNIT else predicted.get(name)
                own = None if scale is None else decided[name].at(scale)
                found += [(source, own)] if own is not None else []
        return found

    def version(self, scanner: str, predicted: Mapping[str, float]) -> str:
        """Hash of what an exam of a scanner takes from here: one more exam changes it only where a value changes."""
        found = self.of(scanner, predicted)[:1]
        return hash_of([(source, e.cell, round(float(np.exp(e.ln_scale)), 3)) for source, e in found])


def calibration_stage(context: ShardContext) -> ShardStage:
    """One row an exam with peaks."""
    settings, home = context.curation.settings.lesions, context.curation.home
    peaks = {row["exam_id"]: row for row in context.rows("peaks").iter_rows(named=True)}
    exams = {row["exam_id"]: row for row in context.rows("exams").iter_rows(named=True)}
    pooled = pooled_estimates(home, settings)
    conventions = conventions_of(settings.convention)
    kept = _kept_calibrations(context, settings.calibration.accepted)
    keys = dict(context.unchanged) | {
        exam_id: hash_of(context.logic, kept[exam_id])
        if exam_id in kept
        else hash_of(
            context.logic,
            row["likelihood_version"],
            pooled.version(row["scanner"], predicted_of(row)),
            row["predicted_scales"],
        )
        for exam_id, row in peaks.items()
        if exam_id in exams
    }

    def compute(exam_id: str) -> tuple[Rows, bool]:
        row = peaks[exam_id]
        if exam_id in kept:
            return [{"exam_id": exam_id, "patient_id": row["patient_id"], **kept[exam_id]}], False
        found = load(home.file(exam_file(home, exam_id)))
        likelihood = found["exam"] if found else no_likelihood(len(conventions))
        predicted = predicted_of(row)
        spikes = tuple(predicted.values())
        made = calibrate(likelihood, pooled.of(row["scanner"], predicted), conventions, spikes, settings.calibration)
        return [{"exam_id": exam_id, "patient_id": row["patient_id"], **calibration_row(made)}], False

    return ShardStage(keys, compute)


def _kept_calibrations(context: ShardContext, accepted: str | None) -> dict[str, dict[str, Any]]:
    """Exam -> its columns in the accepted version of that name."""
    if accepted is None:
        return {}
    lake = Lake(accepted_folder(context.curation.home, accepted) / "lake")
    columns = list(calibration_row(Calibration()))
    rows = lake.read_shard("calibration", context.shard).to_dicts()
    return {row["exam_id"]: {column: row[column] for column in columns} for row in rows}


def calibration_row(made: Calibration) -> dict[str, Any]:
    """The columns of a calibration, by name."""
    return {
        "suv_scale": made.suv_scale,
        "slice_offset": made.slice_offset,
        "origin": made.convention.origin.value,
        "slice_grid": made.convention.grid.value,
        "value_noise": made.reading.noise,
        "rounding": made.reading.rounding.value,
        "slice_spread": made.reading.spread.value,
        "calibration_source": made.source.value,
        "calibration_llr": made.llr,
        "calibration_support": made.support,
    }


def calibration_of(row: Mapping[str, Any], convention: SliceConvention) -> Calibration:
    """The calibration of a row; the number of the first slice is that of the settings' convention."""
    return Calibration(
        suv_scale=row["suv_scale"],
        slice_offset=row["slice_offset"],
        convention=SliceConvention(
            origin=Origin(row["origin"]), base=convention.base, grid=SliceGridKind(row["slice_grid"])
        ),
        reading=Reading(Rounding(row["rounding"]), row["value_noise"], SliceSpread(row["slice_spread"])),
        source=CalibrationSource(row["calibration_source"]),
        llr=row["calibration_llr"],
        support=row["calibration_support"],
    )


def predicted_of(peaks: Mapping[str, Any]) -> dict[str, float]:
    """Scales that an exam's header predicts, by name, of its row of `peaks`."""
    return dict(json.loads(peaks["predicted_scales"] or "{}"))


def pooled_estimates(home: Home, settings: LesionSettings) -> PooledEstimates:
    """What the sums over all shards decide now."""
    home.folder(home.likelihoods)
    files = [shard_file(home, shard) for shard in range(N_SHARDS)]
    state = tuple((p, s.st_mtime_ns, s.st_size) for p in files if p.is_file() and (s := p.stat()))
    return _pooled(state, settings)


def pooled_version(curation: Curation, shard: int) -> str:
    """Hash of what the exams of a shard take from the sums over all shards."""
    kinds = {(row["scanner"], row["predicted_scales"]) for row in curation.lake.read_shard("peaks", shard).to_dicts()}
    if not kinds:
        return hash_of([])
    pooled = pooled_estimates(curation.home, curation.settings.lesions)
    return hash_of([(*kind, pooled.version(kind[0], json.loads(kind[1] or "{}"))) for kind in sorted(kinds)])


@lru_cache(maxsize=4)
def _pooled(state: tuple[tuple[Path, int, int], ...], settings: LesionSettings) -> PooledEstimates:
    n_conventions = len(conventions_of(settings.convention))
    scanners: dict[str, dict[str, Likelihood]] = {}
    cohort: dict[str, Likelihood] = {}
    for path, _, _ in state:
        for full_name, one in sorted((load(path) or {}).items()):
            scanner, _, predicted = full_name.partition("\n")
            sums, name = scanners.setdefault(scanner, {}), predicted or UNIT
            sums[name] = sums.get(name, no_likelihood(n_conventions)) + one
    for scanner in sorted(scanners):
        for name, one in scanners[scanner].items():
            cohort[name] = cohort.get(name, no_likelihood(n_conventions)) + one

    def decided(sums: Mapping[str, Likelihood]) -> dict[str, Estimate]:
        return {name: _estimate_of(name, one, n_conventions, settings) for name, one in sums.items()}

    return PooledEstimates(decided(cohort), {name: decided(sums) for name, sums in scanners.items()})


def _estimate_of(name: str, likelihood: Likelihood, n_conventions: int, settings: LesionSettings) -> Estimate:
    prior = log_prior(n_conventions, (), likelihood.with_slice)
    if name != UNIT:
        prior += np.log(OTHER_NORM)
    return estimate(likelihood, prior, settings.calibration)


def cohort_likelihood(home: Home, settings: LesionSettings) -> Likelihood:
    """The likelihood of the whole cohort."""
    total = no_likelihood(len(conventions_of(settings.convention)))
    home.folder(home.likelihoods)
    for shard in range(N_SHARDS):
        for name, one in (load(shard_file(home, shard)) or {}).items():
            total = total + one if "\n" not in name else total
    return total
