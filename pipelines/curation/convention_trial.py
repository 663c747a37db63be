"""How a cohort's reports count slices and print SUVs: every way of counting, by the likelihood of its findings."""

import polars as pl

from pipelines.curation.stages.calibration_stage import cohort_likelihood
from pipelines.curation.stages.curation import Curation
from pipelines.imaging.lesions.calibration import Likelihood, conventions_of
from pipelines.imaging.lesions.slice_conventions import advice_of, likelihood_figure, score_conventions


def try_conventions(curation: Curation) -> pl.DataFrame:
    """How each way of counting slices explains the findings of the cohort, the best first.

    Columns: origin, base, grid, slice_offset, suv_scale (of the best of its calibrations), llr (nats), support
    (findings), in_use.
    """
    settings = curation.settings.lesions
    scores = score_conventions(_likelihood(curation), conventions_of(settings.convention))
    return pl.DataFrame(
        [
            {
                "origin": s.convention.origin.value,
                "base": s.convention.base,
                "grid": s.convention.grid.value,
                "slice_offset": s.slice_offset,
                "suv_scale": s.suv_scale,
                "llr": s.llr,
                "support": s.support,
                "in_use": s.convention == settings.convention,
            }
            for s in scores
        ]
    )


def better_convention(curation: Curation) -> str | None:
    """What to write into petar.toml where the reports count slices in another way than the settings say; null where
    they do not, or too little tells."""
    used = curation.settings.lesions.convention
    return advice_of(score_conventions(_likelihood(curation), conventions_of(used)), used)


def convention_figure(curation: Curation) -> bytes:
    """PNG of the likelihood over scale and offset."""
    return likelihood_figure(_likelihood(curation), conventions_of(curation.settings.lesions.convention))


def _likelihood(curation: Curation) -> Likelihood:
    return cohort_likelihood(curation.home, curation.settings.lesions)
