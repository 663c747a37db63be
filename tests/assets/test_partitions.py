"""What the sharded assets share."""

from pathlib import Path

import dagster as dg
import pytest

from assets.lesions import LesionsConfig
from assets.partitions import settings_of_run
from assets.resources import Workspace
from pipelines.settings import COHORT_SETTINGS_NAME


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    (tmp_path / COHORT_SETTINGS_NAME).write_text("[consensus]\nmin_suvmax = 3.0\n")
    return Workspace(cohort=str(tmp_path), home=str(tmp_path / "home"))


class TestSettingsOfRun:
    def test_replaces_a_parameter_for_a_run_and_keeps_the_cohorts_others(self, workspace: Workspace) -> None:
        config = LesionsConfig(lesions={"contour": {"method": "published", "shell_mm": [4.0, 5.0]}})
        settings = settings_of_run(workspace, config)
        assert (settings.lesions.contour.method, settings.consensus.min_suvmax) == ("published", 3.0)
        assert settings.lesions.contour.shell_mm == (4.0, 5.0)

    def test_takes_the_cohorts_settings_where_a_run_gives_none(self, workspace: Workspace) -> None:
        assert settings_of_run(workspace, LesionsConfig()) == workspace.settings()

    def test_fails_for_good_on_a_value_out_of_range(self, workspace: Workspace) -> None:
        config = LesionsConfig(lesions={"contour": {"background_part": 7.0}})
        with pytest.raises(
            dg.Failure, match=r"> 0 and < 1 .* background_part in .lesions.contour. of the run's"
        ) as failure:
            settings_of_run(workspace, config)
        assert failure.value.allow_retries is False
