"""Calibration: how each exam's report is read against its image, from the likelihoods of its exam, its scanner and the
whole cohort."""

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
from pipelines.tables.hashing import hash_of
from pipelines.tables.home import Home
from pipelines.tables.shards import N_SHARDS


@dataclass(frozen=True)
class PooledEstimates:
    """What the sums over the cohort and over each scanner decide; undecided ones stand here too."""

    cohort: Estimate
    scanners: Mapping[str, Estimate]

    def of(self, scanner: str) -> list[tuple[CalibrationSource, Estimate]]:
        """The estimates for an exam of a scanner, the nearest first."""
        own = self.scanners.get(scanner)
        nearest = [(CalibrationSource.SCANNER, own)] if own is not None else []
        return [*nearest, (CalibrationSource.COHORT, self.cohort)]

    def version(self, scanner: str) -> str:
        """Hash of what an exam of a scanner takes from here: one more exam changes it only where a value changes."""
        decided = [(source, e.cell, round(float(np.exp(e.ln_scale)), 3)) for source, e in self.of(scanner) if e.decided]
        return hash_of(decided[:1])


def calibration_stage(context: ShardContext) -> ShardStage:
    """One row an exam with peaks."""
    settings, home = context.curation.settings.lesions, context.curation.home
    peaks = {row["exam_id"]: row for row in context.rows("peaks").iter_rows(named=True)}
    exams = {row["exam_id"]: row for row in context.rows("exams").iter_rows(named=True)}
    pooled = pooled_estimates(home, settings)
    conventions = conventions_of(settings.convention)
    keys = dict(context.unchanged) | {
        exam_id: hash_of(
            context.logic, row["likelihood_version"], pooled.version(row["scanner"]), spikes_of(exams[exam_id])
        )
        for exam_id, row in peaks.items()
        if exam_id in exams
    }

    def compute(exam_id: str) -> tuple[Rows, bool]:
        row = peaks[exam_id]
        found = load(home.file(exam_file(home, exam_id)))
        likelihood = found["exam"] if found else no_likelihood(len(conventions))
        spikes = spikes_of(exams[exam_id])
        made = calibrate(likelihood, pooled.of(row["scanner"]), conventions, spikes, settings.calibration)
        return [{"exam_id": exam_id, "patient_id": row["patient_id"], **calibration_row(made)}], False

    return ShardStage(keys, compute)


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


def spikes_of(exam: Mapping[str, Any]) -> tuple[float, ...]:
    """Scales that an exam's header predicts for a workstation that corrects the decay to another time: that of the
    injection or that of the scan."""
    uptake_s, half_life_s = exam["uptake_s"], exam["half_life_s"]
    if not uptake_s or not half_life_s:
        return ()
    ratio = float(2.0 ** (-uptake_s / half_life_s))
    return tuple(r for r in (round(ratio, 4), round(1 / ratio, 4)) if 0.56 < r < 1.75)


def pooled_estimates(home: Home, settings: LesionSettings) -> PooledEstimates:
    """What the sums over all shards decide now."""
    home.folder(home.likelihoods)
    files = [shard_file(home, shard) for shard in range(N_SHARDS)]
    state = tuple((p, s.st_mtime_ns, s.st_size) for p in files if p.is_file() and (s := p.stat()))
    return _pooled(state, settings)


def pooled_version(curation: Curation, shard: int) -> str:
    """Hash of what the exams of a shard take from the sums over all shards."""
    settings = curation.settings.lesions
    scanners = sorted(set(curation.lake.read_shard("peaks", shard)["scanner"]))
    pooled = pooled_estimates(curation.home, settings) if scanners else None
    return hash_of([(name, pooled.version(name)) for name in scanners] if pooled else [])


@lru_cache(maxsize=4)
def _pooled(state: tuple[tuple[Path, int, int], ...], settings: LesionSettings) -> PooledEstimates:
    n_conventions = len(conventions_of(settings.convention))
    scanners: dict[str, Likelihood] = {}
    for path, _, _ in state:
        for scanner, one in (load(path) or {}).items():
            scanners[scanner] = scanners.get(scanner, no_likelihood(n_conventions)) + one
    cohort = no_likelihood(n_conventions)
    for scanner in sorted(scanners):
        cohort = cohort + scanners[scanner]

    def decided(one: Likelihood) -> Estimate:
        return estimate(one, log_prior(n_conventions, (), one.with_slice), settings.calibration)

    return PooledEstimates(decided(cohort), {name: decided(one) for name, one in scanners.items()})


def cohort_likelihood(home: Home, settings: LesionSettings) -> Likelihood:
    """The likelihood of the whole cohort."""
    total = no_likelihood(len(conventions_of(settings.convention)))
    home.folder(home.likelihoods)
    for shard in range(N_SHARDS):
        for one in (load(shard_file(home, shard)) or {}).values():
            total = total + one
    return total
