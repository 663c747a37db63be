"""Arms of the ablation beside the other models: trained once, their texts a part of the predictions."""

import polars as pl

from model.evaluation.ablation.conditions import CONDITIONS
from model.evaluation.ablation.texts import update_ablation
from model.evaluation.predictions import collect_predictions
from pipelines.tables.home import Home
from pipelines.tables.lake import Lake


class TestUpdateAblation:
    def test_a_condition_describes_the_held_out_lesions_and_is_kept(self, lake, tmp_path) -> None:
        home = Home(tmp_path)
        for name in ("volumes", "masks"):
            (tmp_path / name).symlink_to(lake.home.root / name)
        split = pl.when(pl.col("exam_id") == "E2").then(pl.lit("test")).otherwise("split").alias("split")
        Lake(home.lake).write_table("samples", lake.samples.with_columns(split))
        result, report = update_ablation(home, CONDITIONS[0], effort=0.01)
        assert (result.reused, report.recomputed) == (False, 6)
        again, kept = update_ablation(home, CONDITIONS[0], effort=0.01)
        assert (again.reused, kept.recomputed, kept.reused) == (True, 0, 6)
        predictions = collect_predictions(home).frame
        assert set(predictions["model"]) == {"ablation: none"}
        assert sorted(set(predictions["split"])) == ["test", "val"]
