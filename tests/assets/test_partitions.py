"""What the sharded assets share."""

from pathlib import Path

import dagster as dg
import pytest

from assets.partitions import overridden
from assets.resources import COHORT_SETTINGS_NAME, Workspace


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    (tmp_path / COHORT_SETTINGS_NAME).write_text("[consensus]\nmin_suvmax = 3.0\n")
    return Workspace(cohort=str(tmp_path), home=str(tmp_path / "home"))


class TestOverridden:
    def test_replaces_a_parameter_for_a_run_and_keeps_the_cohorts_others(self, workspace: Workspace) -> None:
        settings = overridden(workspace, "lesions", 'contour.method = "published"')
        assert (settings.lesions.contour.method, settings.consensus.min_suvmax) == ("published", 3.0)

    def test_takes_the_cohorts_settings_where_a_run_gives_none(self, workspace: Workspace) -> None:
        assert overridden(workspace, "lesions", "") == workspace.settings()

    def test_fails_for_good_on_a_parameter_that_does_not_exist(self, workspace: Workspace) -> None:
        with pytest.raises(dg.Failure, match="got contor") as failure:
            overridden(workspace, "lesions", 'contor.method = "published"')
        assert failure.value.allow_retries is False
