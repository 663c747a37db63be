"""The reports of the real cohort against the truth that comes with it."""

import csv

import pytest

from pipelines.cohort.report_files import read_reports
from pipelines.reports.consensus import decide_exam
from pipelines.reports.passages import passages_of
from pipelines.reports.readers import RulesReader
from pipelines.reports.sentences import split_report
from pipelines.tables.outcomes import Outcome
from tests.support.paths import SHARED

COHORT = SHARED / "cohorts" / "real"

pytestmark = [pytest.mark.real, pytest.mark.skipif(not COHORT.is_dir(), reason="no real cohort beside the checkout")]


@pytest.fixture(scope="module")
def outcomes():
    found = {}
    for row in read_reports(COHORT / "reports.csv").iter_rows(named=True):
        sentences = split_report(row["exam_id"], row["findings"])
        for f in decide_exam(sentences, RulesReader().read(passages_of(sentences))):
            found[(f.exam_id, f.slice, f.suvmax_reported)] = f.outcome
    return found


@pytest.fixture(scope="module")
def truth():
    with (COHORT / "truth.csv").open() as file:
        rows = list(csv.DictReader(file))
    # What only the image can tell is accepted by the text stage.
    accepted = dict.fromkeys(("lesion", "not in the image"), Outcome.ACCEPTED)
    # The truth was written when the label named the threshold.
    outcome_of = {**accepted, "SUV under 2.5": Outcome.SUV_TOO_LOW}
    return {
        (r["exam_id"], int(r["slice"]), float(r["suvmax_reported"])): outcome_of.get(r["outcome"])
        or Outcome(r["outcome"])
        for r in rows
    }


class TestRealReports:
    def test_every_sentence_of_the_truth_gets_its_outcome(self, outcomes, truth):
        assert {key: outcomes.get(key) for key in truth} == truth

    def test_nothing_else_is_accepted(self, outcomes, truth):
        assert {key for key, o in outcomes.items() if o is Outcome.ACCEPTED} <= set(truth)
