"""The dataset card: what it tells of a curation."""

from pathlib import Path

import polars as pl
import pytest

from pipelines.catalog.build import build_catalog
from pipelines.catalog.versions import accept, read_history
from pipelines.dataset.splits import split_of
from pipelines.review.dataset_card import split_table, write_card
from pipelines.settings import CurationSettings, SplitSettings
from pipelines.tables import schemas
from pipelines.tables.home import Home
from pipelines.tables.lake import Lake


@pytest.fixture
def home(tmp_path: Path) -> Home:
    row = {"exam_id": "E1", "patient_id": "P1", "kind": "name", "n": 3, "is_masked": True}
    Lake(tmp_path / "lake").write_table("identifiers", schemas.frame("identifiers", [row]))
    build_catalog(Home(tmp_path))
    return Home(tmp_path)


class TestCard:
    def test_tells_attrition_groups_splits_privacy_versions_method_and_biases(self, home: Home) -> None:
        text = write_card(home, CurationSettings()).text
        headings = [line.removeprefix("## ") for line in text.splitlines() if line.startswith("## ")]
        expected = ["From exams to lesions", "Lesions by tracer", "Lesions by region", "Lesions by organ", "Splits"]
        assert headings == [*expected, "Privacy", "Versions", "Method", "Known biases"]

    def test_names_the_version_and_what_it_was_accepted_as(self, home: Home) -> None:
        accept(home, "paper-1", "an auditor")
        assert f"Catalog: `{read_history(home)[-1]}`, accepted as paper-1." in write_card(home, CurationSettings()).text

    def test_counts_identifiers_and_gives_no_example(self, home: Home) -> None:
        text = write_card(home, CurationSettings()).text
        assert "| name | 3 | 3 | 1 |" in text
        assert "E1" not in text

    def test_changes_its_version_with_what_it_says(self, home: Home) -> None:
        first = write_card(home, CurationSettings())
        assert write_card(home, CurationSettings()).version == first.version


class TestSplitTable:
    def test_counts_patients_exams_and_lesions_of_each_split(self) -> None:
        patients = pl.DataFrame({"patient_id": [f"P{n}" for n in range(200)], "n_exams": 2, "n_lesions": 3})
        settings = SplitSettings(val=0.2, test=0.2)
        table = split_table(patients, settings)
        n_test = sum(split_of(p, settings) == "test" for p in patients["patient_id"])
        assert table["split"].to_list() == ["train", "val", "test"]
        assert table.filter(split="test").row(0) == ("test", n_test, 2 * n_test, 3 * n_test)
        assert table["n_patients"].sum() == 200
