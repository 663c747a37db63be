"""The asset `catalog`: asked for again when a table that is made from it was written."""

from pathlib import Path

import dagster as dg

from assets.catalog import LATER_TABLES
from assets.definitions import build_defs
from assets.resources import Workspace
from pipelines.catalog.build import connect
from pipelines.cohort.manifest import observe_cohort
from pipelines.tables.home import Home
from pipelines.tables.lake import Lake
from pipelines.tables.schemas import frame


class TestATableMadeFromTheCatalog:
    def test_is_an_asset(self, tmp_path: Path) -> None:
        defs = build_defs(Workspace(cohort=str(tmp_path), home=str(tmp_path / "home")))
        known = {key.to_user_string() for key in defs.resolve_asset_graph().materializable_asset_keys}
        assert set(LATER_TABLES) <= known

    def test_asks_for_the_catalog_once_it_was_written(self, tmp_path: Path) -> None:
        defs = build_defs(Workspace(cohort=str(tmp_path), home=str(tmp_path / "home")))
        with dg.DagsterInstance.ephemeral() as instance:
            first = dg.evaluate_automation_conditions(defs, instance)
            instance.report_runless_asset_event(dg.AssetMaterialization("scores"))
            written = dg.evaluate_automation_conditions(defs, instance, cursor=first.cursor)
            asked = [one.key.to_user_string() for one in written.results if one.true_subset.size]
        # With what is made from the catalog at the same tick, and nothing that it is made from.
        assert sorted(asked) == ["catalog", "curation_diff", "dataset_card", "overview"]

    def test_is_seen_after_the_job_refresh(self, tmp_path: Path) -> None:
        home = Home(tmp_path / "home")
        (tmp_path / "reports.csv").write_text("exam_id,patient_id,findings\n")
        observe_cohort(tmp_path, home.manifest)
        refresh = build_defs(Workspace(cohort=str(tmp_path), home=str(home.root))).resolve_job_def("refresh")
        with dg.DagsterInstance.ephemeral() as instance:
            assert refresh.execute_in_process(instance=instance).success
            score = {
                "model": "a",
                "split": "test",
                "metric": "BLEU",
                "numbers": "raw",
                "subset": "all",
                "status": "not computed",
                "note": "no texts",
            }
            Lake(home.lake).write_table("scores", frame("scores", [score]))
            assert refresh.execute_in_process(instance=instance).success
        with connect(home) as con:
            assert con.sql("select model from scores").fetchall() == [("a",)]
