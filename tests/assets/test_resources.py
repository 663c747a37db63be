"""What the steps of a run share."""

from pathlib import Path

import dagster as dg
import polars as pl
import pytest

from assets.resources import Workspace
from pipelines.review.quality_check_result import CheckResult, result_of
from pipelines.review.quality_checks import Check
from pipelines.settings import ProjectSettings
from pipelines.tables import schemas
from pipelines.tables.home import Home
from pipelines.tables.lake import Lake

CALLS: list[Path] = []


def counted(home: Home, settings: ProjectSettings) -> CheckResult:
    CALLS.append(home.root)
    return result_of("counted", "warning", "Rows", pl.DataFrame({"exam_id": ["E1"]}), 1)


CHECK = Check("counted", "lesions", "warning", counted, "Counts its calls.")


@dg.asset
def first(workspace: Workspace) -> str:
    return next(workspace.check_results([CHECK])).name


@dg.asset(deps=[first])
def second(workspace: Workspace) -> str:
    return next(workspace.check_results([CHECK])).name


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    CALLS.clear()
    (tmp_path / "cohort").mkdir()
    return Workspace(cohort=str(tmp_path / "cohort"), home=str(tmp_path / "home"))


def test_a_check_runs_once_for_all_steps_of_a_run(workspace: Workspace) -> None:
    quiet = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}
    for _ in range(2):
        dg.materialize([first, second], resources={"workspace": workspace}, run_config=quiet)
    assert len(CALLS) == 2


def test_other_rows_are_checked_again(workspace: Workspace) -> None:
    assert [r.n_bad for _ in range(2) for r in workspace.check_results([CHECK])] == [1, 1]
    assert len(CALLS) == 1
    Lake(workspace.paths.lake).write_table("identifiers", schemas.empty("identifiers"))
    list(workspace.check_results([CHECK]))
    assert len(CALLS) == 2
