"""The definitions: what is there, how it hangs together, and what a user sees of it."""

from pathlib import Path

import dagster as dg
import pytest

from assets.definitions import build_defs
from assets.resources import Workspace
from pipelines.review.quality_checks import CHECKS
from pipelines.tables.shards import SHARD_NAMES

SHARDED = {
    "exam_manifest",
    "corrections",
    "exams",
    "sentences",
    "readings",
    "findings",
    "peaks",
    "calibration",
    "lesions",
    "candidates",
}
LINEAGE = {
    "exams": {"exam_manifest"},
    "sentences": {"exam_manifest"},
    "readings": {"sentences"},
    "findings": {"exams", "sentences", "readings", "corrections"},
    "peaks": {"exams", "findings"},
    "calibration": {"exams", "peaks"},
    "lesions": {"exams", "findings", "peaks", "calibration"},
    "candidates": {"exams", "peaks"},
    "proposals": {"candidates", "catalog", "reviews"},
    "identifiers": {"exam_manifest"},
    "reports": {"exam_manifest"},
    "catalog": {"exams", "sentences", "readings", "findings", "lesions", "identifiers", "reports"},
    "curation_diff": {"catalog"},
    "accepted_curation": {"catalog"},
    "dataset_card": {"catalog"},
    "overview": {"catalog"},
    "exam_pairs": {"catalog"},
    "lesion_links": {"catalog", "exam_pairs"},
    "exports": {"catalog", "lesion_links"},
    "exam_reports": {"exports", "lesion_links"},
    "anatomy": {"exam_manifest", "exams"},
    "samples": {"catalog", "anatomy"},
    "anatomy_projector": {"samples"},
    "anatomy_mask": {"samples", "anatomy_projector"},
    "anatomy_full": {"samples", "anatomy_mask"},
    "findings_projector": {"samples", "anatomy_full"},
    "findings_mask": {"samples", "findings_projector"},
    "findings_full": {"samples", "findings_mask"},
    "petar_texts": {"samples", "findings_full"},
    "baseline_texts": {"samples"},
    "file_texts": {"samples"},
    "vlm_texts": {"samples"},
    "checkpoint_texts": {"samples"},
    "ablation": {"samples"},
    "predictions": {"petar_texts", "baseline_texts", "file_texts", "vlm_texts", "checkpoint_texts", "ablation"},
    "scores": {"predictions"},
    "comparisons": {"scores"},
    "scoreboard": {"scores", "comparisons"},
    "robustness": {"samples", "findings_full"},
    "external": {"findings_full"},
    "reader_study": {"predictions", "external"},
    "reader_study_results": {"reader_study"},
}


@pytest.fixture(scope="module")
def defs(tmp_path_factory: pytest.TempPathFactory) -> dg.Definitions:
    home = tmp_path_factory.mktemp("home")
    return build_defs(Workspace(cohort=str(home / "cohort"), home=str(home)))


def specs(defs: dg.Definitions) -> dict[str, dg.AssetSpec]:
    return {spec.key.to_user_string(): spec for spec in defs.resolve_all_asset_specs()}


class TestTheLineage:
    def test_is_the_way_of_the_data(self, defs: dg.Definitions) -> None:
        found = {name: {dep.asset_key.to_user_string() for dep in spec.deps} for name, spec in specs(defs).items()}
        assert {name: deps for name, deps in found.items() if name in LINEAGE} == LINEAGE

    def test_has_sixty_four_shards_where_patients_are_and_none_elsewhere(self, defs: dg.Definitions) -> None:
        graph = defs.resolve_asset_graph()
        partitioned = {
            key.to_user_string()
            for key in graph.get_all_asset_keys()
            if (partitions := graph.get(key).partitions_def) is not None
            and partitions.get_partition_keys() == list(SHARD_NAMES)
        }
        assert partitioned == SHARDED

    @pytest.mark.parametrize("name", sorted(LINEAGE))
    def test_tells_what_an_asset_is_whose_and_in_which_group(self, defs: dg.Definitions, name: str) -> None:
        spec = specs(defs)[name]
        assert spec.description
        assert spec.owners
        assert spec.group_name != "default"
        assert spec.kinds

    @pytest.mark.parametrize("name", ["exams", "sentences", "readings", "findings", "lesions", "samples", "scores"])
    def test_shows_the_columns_of_a_table(self, defs: dg.Definitions, name: str) -> None:
        schema = specs(defs)[name].metadata["dagster/column_schema"]
        assert all(column.description for column in schema.columns)


class TestColumnLineage:
    def test_of_every_table_asset_tells_of_each_of_its_columns(self, defs: dg.Definitions) -> None:
        tables = {name: spec.metadata for name, spec in specs(defs).items() if "dagster/column_schema" in spec.metadata}
        assert {"exams", "sentences", "readings", "findings", "lesions", "samples", "identifiers"} <= set(tables)
        for name, metadata in tables.items():
            columns = [column.name for column in metadata["dagster/column_schema"].columns]
            assert list(metadata["dagster/column_lineage"].deps_by_column) == columns, name

    def test_names_assets_that_lie_below(self, defs: dg.Definitions) -> None:
        graph = defs.resolve_asset_graph()
        for name, spec in specs(defs).items():
            lineage = spec.metadata.get("dagster/column_lineage")
            named = {d.asset_key for deps in lineage.deps_by_column.values() for d in deps} if lineage else set()
            below = {key for key in graph.get_ancestor_asset_keys(spec.key)}
            assert named - below == set(), name


class TestAutomation:
    def test_loads_as_a_whole_as_the_ui_does(self, defs: dg.Definitions) -> None:
        # Jobs and assets that share a name are told only here.
        defs.get_repository_def().load_all_definitions()

    def test_has_jobs_schedules_and_sensors(self, defs: dg.Definitions) -> None:
        repository = defs.get_repository_def()
        assert {"observe", "curate", "curate_shard", "publish", "train", "evaluate"} <= set(repository.job_names)
        assert {s.name for s in repository.schedule_defs} == {
            "nightly_recuration",
            "weekly_observation",
            "daily_freshness",
            "weekly_retention",
        }
        sensors = {"cohort_sensor", "changed_shards", "single_shards", "dead_runs"}
        assert {s.name for s in repository.sensor_defs} == sensors

    def test_runs_no_check_once_a_shard(self, defs: dg.Definitions) -> None:
        assert not defs.resolve_job_def("curate_shard").asset_layer.asset_graph.asset_check_keys

    def test_runs_every_check_of_a_curation_when_it_publishes(self, defs: dg.Definitions) -> None:
        keys = defs.resolve_job_def("publish").asset_layer.asset_graph.asset_check_keys
        assert {k.name for k in keys} == {c.name for c in CHECKS if c.table not in ("samples", "lesion_links")}


class TestTheSensor:
    def test_skips_with_a_reason_where_there_is_no_cohort(self, tmp_path: Path) -> None:
        from assets.automation import cohort_sensor

        workspace = Workspace(cohort=str(tmp_path / "nowhere"), home=str(tmp_path))
        with dg.build_sensor_context(resources={"workspace": workspace}) as context:
            result = cohort_sensor(context)
        assert isinstance(result, dg.SkipReason)
        assert "expected a cohort folder" in (result.skip_message or "")

    def test_asks_once_for_a_state_of_the_folder(self, tmp_path: Path) -> None:
        from assets.automation import cohort_sensor

        (tmp_path / "reports.csv").write_text("exam_id,patient_id,findings\n")
        workspace = Workspace(cohort=str(tmp_path), home=str(tmp_path / "home"))
        with dg.build_sensor_context(resources={"workspace": workspace}) as context:
            first = cohort_sensor(context)
            second = cohort_sensor(context)
        assert isinstance(first, dg.RunRequest)
        assert isinstance(second, dg.SkipReason)

    def test_asks_again_for_a_state_that_comes_back(self, tmp_path: Path) -> None:
        from assets.automation import cohort_sensor

        reports, extra = tmp_path / "reports.csv", tmp_path / "exams.txt"
        reports.write_text("exam_id,patient_id,findings\n")
        workspace = Workspace(cohort=str(tmp_path), home=str(tmp_path.parent / "home"))
        with dg.build_sensor_context(resources={"workspace": workspace}) as context:
            first = cohort_sensor(context)
            extra.write_text("")
            cohort_sensor(context)
            extra.unlink()
            third = cohort_sensor(context)
        assert isinstance(first, dg.RunRequest)
        assert isinstance(third, dg.RunRequest)
        # The daemon launches no second run of an equal key, so there is none.
        assert first.run_key is third.run_key is None


class TestTheScorecard:
    def test_adds_the_labelled_sentences_of_the_cohort_and_shows_them_by_topic(self, tmp_path: Path) -> None:
        from assets.review import reader_scorecard

        (tmp_path / "petar.toml").write_text('labelled_file = "ours.csv"\n')
        (tmp_path / "ours.csv").write_text(
            "sentence,slice,suvmax,topic\nLeft lung nodule with SUV 4.2 (slice 88).,77,4.2,ours\n"
        )
        workspace = Workspace(cohort=str(tmp_path), home=str(tmp_path / "home"))
        result = dg.materialize([reader_scorecard], resources={"workspace": workspace})
        (event,) = result.get_asset_materialization_events()
        metadata = event.materialization.metadata
        topics = {r.data["topic"]: r.data["rules"] for r in metadata["by topic"].value.records}
        assert topics["ours"] == "0 %, 1 wrong pairs"
        assert {"figure", "scores", "not right", "rules: both_right"} <= set(metadata)
