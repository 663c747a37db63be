"""Texts of a model for lesions that nobody described: beside those of held-out lesions, never scored, released."""

from pathlib import Path

import polars as pl
import pytest

from model.evaluation.predictions import collect_predictions
from model.evaluation.scores import update_scores
from model.evaluation.text_sources import update_baseline_texts, update_other_checkpoints
from model.inputs.sample_table import build_samples
from model.petar.checkpoints import Contract, build_model, save_checkpoint
from pipelines.catalog.build import build_catalog
from pipelines.catalog.versions import accept
from pipelines.release.gate import open_gate
from pipelines.release.write import write_release
from pipelines.settings import CheckpointSettings, SampleSettings, ScoreSettings
from pipelines.tables.home import Home
from pipelines.tables.lake import Lake
from tests.support.curations import curate_small
from tests.support.given_cohort import KEY, write_cohort_folder

SAID = "Region: chest. Organ: lung. Findings: Avid focus."


@pytest.fixture
def checkpoints(tmp_path: Path, micro, tokenizer, monkeypatch: pytest.MonkeyPatch) -> list[CheckpointSettings]:
    save_checkpoint(tmp_path / "checkpoint", build_model(micro, tokenizer), tokenizer, Contract(micro))
    monkeypatch.setattr("model.serving.generation.answer", lambda loaded, items, **_: [SAID] * len(items))
    return [CheckpointSettings(name="petar-other", folder=tmp_path / "checkpoint")]


def curated(root: Path, *, with_texts: bool) -> Home:
    write_cohort_folder(root / "cohort")
    if not with_texts:
        path = root / "cohort" / "given_masks.csv"
        pl.read_csv(path).with_columns(text=pl.lit(None)).write_csv(path)
    home = Home(root / "home")
    curate_small(home, root / "cohort")
    build_samples(home, {}, SampleSettings())
    return home


class TestLesionsThatNobodyDescribed:
    def test_get_texts_without_a_reference_and_are_not_scored(self, tmp_path: Path, checkpoints) -> None:
        home = curated(tmp_path, with_texts=True)
        assert update_other_checkpoints(home, checkpoints, SampleSettings()).recomputed == 6
        assert update_other_checkpoints(home, checkpoints, SampleSettings()).reused == 6
        frame = collect_predictions(home).frame
        sources = Lake(home.lake).read_table("findings").select("finding_id", "text_source")
        rows = frame.join(sources, on="finding_id").select("text_source", "reference", "text_measured")
        composed = rows.filter(text_source="composed")
        assert composed.height == 4
        assert composed["reference"].null_count() == 4
        assert set(composed["text_measured"]) == {SAID}
        assert rows.filter(text_source="given")["reference"].null_count() == 0
        scored = update_scores(home, ScoreSettings(n_resamples=10)).frame.filter(
            pl.col("model") == "petar-other", pl.col("metric") == "organ"
        )
        assert scored.filter(pl.col("subset") == "all").select("split", "n_left_out").sort("split").rows() == [
            ("test", 0),
            ("val", 0),
        ]

    def test_are_released_with_the_models_name(self, tmp_path: Path, checkpoints) -> None:
        home = curated(tmp_path, with_texts=False)
        # Nothing is held out, and nothing fails for it.
        assert update_baseline_texts(home).frame.is_empty()
        assert update_other_checkpoints(home, checkpoints, SampleSettings()).recomputed == 8
        collect_predictions(home)
        build_catalog(home)
        accept(home, "v1", "Dr A")
        write_release(home, "v1", tmp_path / "out", open_gate(home, "v1", KEY))
        lesions = pl.read_parquet(tmp_path / "out" / "data" / "lesions" / "*.parquet")
        assert lesions.select("text", "text_source", "text_model").unique().rows() == [(SAID, "model", "petar-other")]
        assert "| given mask | a mask that came with the exam | given | model | 8 |" in (
            (tmp_path / "out" / "README.md").read_text()
        )
