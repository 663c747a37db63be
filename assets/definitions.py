"""Dagster definitions of the project: `build_defs()`, and `defs`, which Dagster loads."""

import os
from collections.abc import Mapping
from typing import Any

import dagster as dg

from assets import (
    ablation,
    automation,
    catalog,
    checks,
    evaluation,
    exams,
    exports,
    followup,
    lesions,
    proposals,
    reports,
    review,
    studies,
    texts,
    training,
)
from assets.progress import Unwatched
from assets.resources import Workspace, workspace_from

ASSET_MODULES = [
    exams,
    reports,
    lesions,
    proposals,
    catalog,
    followup,
    review,
    exports,
    training,
    ablation,
    texts,
    evaluation,
    studies,
]


def build_defs(
    workspace: Workspace | None = None, resource_overrides: Mapping[str, Any] | None = None
) -> dg.Definitions:
    """All assets, checks, jobs, schedules and sensors over a workspace; without one, the one that the environment
    names.
    """
    return dg.Definitions(
        assets=dg.load_assets_from_modules(ASSET_MODULES),
        asset_checks=checks.CHECKS,
        jobs=[
            *automation.JOBS,
            *followup.JOBS,
            *proposals.JOBS,
            *review.JOBS,
            *exports.JOBS,
            *training.JOBS,
            *ablation.JOBS,
            *evaluation.JOBS,
            *studies.JOBS,
        ],
        schedules=automation.SCHEDULES,
        sensors=automation.SENSORS,
        resources={
            "workspace": workspace or workspace_from(os.environ),
            "watch": Unwatched(),
            **(resource_overrides or {}),
        },
        executor=dg.in_process_executor,
    )


defs = build_defs()
