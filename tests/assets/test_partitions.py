"""What the sharded assets share."""

from pathlib import Path

import dagster as dg
import pytest

from assets.definitions import build_defs
from assets.lesions import LesionsConfig
from assets.partitions import range_tags, settings_of_run, together
from assets.resources import Workspace
from pipelines.cohort.manifest import observe_cohort
from pipelines.curation.run import TABLES, is_empty
from pipelines.settings import COHORT_SETTINGS_NAME
from pipelines.tables.lake import Lake
from pipelines.tables.shards import N_SHARDS, shard_name, shard_of


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


class TestTogether:
    def test_takes_neighbours_that_are_empty_as_one_and_each_other_alone(self) -> None:
        empty = {0, 1, 4, 5, 6, 9}
        found = together([0, 1, 2, 3, 4, 5, 6, 9], lambda shard: shard in empty)
        assert [list(shards) for shards in found] == [[0, 1], [2], [3], [4, 5, 6], [9]]

    def test_leaves_out_what_was_not_asked_for(self) -> None:
        assert [list(shards) for shards in together([2, 4], lambda shard: True)] == [[2], [4]]


class TestARunOfSeveralShards:
    @pytest.fixture
    def observed(self, workspace: Workspace) -> Workspace:
        reports = workspace.cohort_folder / "reports.csv"
        reports.write_text("exam_id,patient_id,findings\nE1,P1,No focus of uptake.\n")
        observe_cohort(workspace.cohort_folder, workspace.paths.manifest)
        return workspace

    def curate(self, workspace: Workspace, instance: dg.DagsterInstance, tags: dict[str, str]) -> list[str]:
        """Messages of the steps that failed."""
        job = build_defs(workspace).resolve_job_def("curate")
        result = job.execute_in_process(instance=instance, tags=tags, raise_on_error=False)
        return [str(e.step_failure_data.user_failure_data) for e in result.all_events if e.is_step_failure]

    def test_makes_each_of_the_empty_ones(self, observed: Workspace) -> None:
        first = next(s for s in range(N_SHARDS - 2) if shard_of("P1") not in range(s, s + 3))
        shards = range(first, first + 3)
        with dg.DagsterInstance.ephemeral() as instance:
            assert self.curate(observed, instance, range_tags(shards)) == []
            made = {key: instance.get_materialized_partitions(dg.AssetKey(key)) for key in ("exams", "lesions")}
        assert made == {key: {shard_name(shard) for shard in shards} for key in made}
        lake = Lake(observed.paths.lake)
        assert all(lake.has_shard(table, shard) for table in TABLES for shard in shards)

    def test_refuses_one_that_holds_an_exam(self, observed: Workspace) -> None:
        own = shard_of("P1")
        shards = range(own, own + 2) if own < N_SHARDS - 1 else range(own - 1, own + 1)
        with dg.DagsterInstance.ephemeral() as instance:
            (message, *_) = self.curate(observed, instance, range_tags(shards))
        assert f"got exams in shard {shard_name(own)}: materialise it in a run of its own" in message

    def test_is_not_for_a_shard_whose_last_exam_left(self, observed: Workspace) -> None:
        own = shard_of("P1")
        with dg.DagsterInstance.ephemeral() as instance:
            assert self.curate(observed, instance, {"dagster/partition": shard_name(own)}) == []
        reports = observed.cohort_folder / "reports.csv"
        reports.write_text("exam_id,patient_id,findings\n")
        observe_cohort(observed.cohort_folder, observed.paths.manifest)
        assert not is_empty(observed.curation(), own)
        assert is_empty(observed.curation(), (own + 1) % N_SHARDS)
