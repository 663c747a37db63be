"""Freshness of the cohort: time of the last observation, and of the newest exam."""

from datetime import datetime

import polars as pl

from pipelines.cohort.observation import Observation
from pipelines.review.quality_check_result import CheckResult, result_of
from pipelines.settings import QualitySettings

_DAY_S = 86_400.0


def check_freshness(observation: Observation | None, now: datetime, settings: QualitySettings) -> CheckResult:
    """The cohort was observed recently and, where a limit is set, a file of it is new."""
    ages = []
    if observation is not None:
        ages = [("last observation", observation.observed_at, settings.max_observation_age_days)]
        if observation.newest_file_at is not None and settings.max_exam_age_days > 0:
            ages.append(("newest file of the cohort", observation.newest_file_at, settings.max_exam_age_days))
    rows = [
        {
            "what": what,
            "at": at.isoformat(timespec="seconds"),
            "age_days": round((now - at).total_seconds() / _DAY_S, 2),
            "most_days": most,
        }
        for what, at, most in ages
    ]
    schema = {"what": pl.String, "at": pl.String, "age_days": pl.Float64, "most_days": pl.Float64}
    frame = pl.DataFrame(rows, schema=schema)
    words = "Cohort that was not looked at, or got nothing new, for too long: observe exam_manifest, or see why not"
    return result_of("freshness", "warning", words, frame.filter(pl.col("age_days") > pl.col("most_days")), len(rows))
