"""Whether a checkpoint was made for the samples that it meets."""

import polars as pl
import pytest

from model.petar.checkpoints import read_contract
from model.training.provenance import check_provenance
from model.training.request import StageRequest, StageSamples
from model.training.train import train_stage
from pipelines.catalog.versions import ProvenanceError


@pytest.fixture
def checkpoint(lake, micro, settings, tmp_path):
    samples = StageSamples.of(lake.samples, lake.home, curation="c0ffee")
    return train_stage(StageRequest("findings_full", samples, micro, settings, tmp_path / "out")).checkpoint


class TestCheckProvenance:
    def test_says_nothing_of_the_samples_that_it_was_trained_on(self, lake, checkpoint):
        assert check_provenance(checkpoint, lake.samples, lake.home) == []
        assert read_contract(checkpoint).lineage[0].curation == "c0ffee"

    def test_refuses_other_samples_and_names_both(self, lake, checkpoint):
        others = lake.with_row(0, target="right liver lesion")
        with pytest.raises(ProvenanceError, match="findings_full saw 9 training samples of curation c0ffee"):
            check_provenance(checkpoint, others, lake.home)

    def test_refuses_where_a_patient_changed_the_split(self, lake, checkpoint):
        moved = lake.samples.with_columns(
            split=pl.when(pl.col("patient_id") == "P0").then(pl.lit("val")).otherwise(pl.col("split"))
        )
        with pytest.raises(ProvenanceError, match="allow_other_samples"):
            check_provenance(checkpoint, moved, lake.home)

    def test_lets_held_out_samples_change(self, lake, checkpoint):
        held_out = lake.samples["split"].to_list().index("val")
        assert check_provenance(checkpoint, lake.with_row(held_out, target="other words"), lake.home) == []

    def test_allowed_it_says_what_does_not_fit(self, lake, checkpoint):
        others = lake.with_row(0, target="right liver lesion")
        assert len(check_provenance(checkpoint, others, lake.home, allow=True)) == 1
