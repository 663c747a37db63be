"""Ensembles of language models that answer the truth with a set error rate, on stub servers."""

from dataclasses import replace

import pytest

from pipelines.phantom.passages.generator import passages
from pipelines.reports.consensus import decide_exam
from pipelines.reports.passages import passages_of
from pipelines.reports.reader_weights import measured, votes_of
from pipelines.reports.readers import RulesReader
from pipelines.reports.sentences import split_report
from pipelines.settings import ConsensusSettings
from pipelines.tables.outcomes import Outcome
from tests.support.oracles import oracles

N = 160
RATES = ((0.0, "a"), (0.05, "a"), (0.15, "a"), (0.15, "b"), (0.15, "c"), (0.15, "a"))
READ_AS_GIVEN = (Outcome.ACCEPTED, Outcome.NOTHING_TO_LOCATE_BY)


class Cases:
    """Generated passages with what every reader reads in them; weights are measured on one half, scores are of the
    other.
    """

    def __init__(self):
        given = list(passages(N, 3))
        self.cut = [split_report(f"E{n}", p.text) for n, p in enumerate(given)]
        self.truth = [{(m.slice, m.suvmax) for m in p.mentions} for p in given]
        own = [passages_of(sentences) for sentences in self.cut]
        told = {x.text: {m.suvmax: m for m in p.mentions} for p, ps in zip(given, own, strict=True) for x in ps}
        flat = [(n, x) for n, ps in enumerate(own) for x in ps]
        self.read = {}
        with oracles(told.get, RATES) as asked:
            names = [reader.name for reader in asked]
            for k, reader in enumerate((RulesReader(), *asked)):
                name = reader.name if k == 0 or names.index(reader.name) == k - 1 else "15% a again"
                for (n, _), reading in zip(flat, reader.read([x for _, x in flat]), strict=True):
                    self.read.setdefault((n, name), []).append(replace(reading, reader=name))

    def readings(self, n, readers):
        return [r for name in readers for r in self.read.get((n, name), ())]

    def weights(self, readers):
        votes = [v for n in range(0, N, 2) for v in votes_of(self.readings(n, readers), self.truth[n])]
        return measured(votes, dict.fromkeys(readers, "1"), tuned=()).weights

    def right(self, readers):
        """Passages of the other half whose findings are exactly the truth."""
        settings = ConsensusSettings(weights=self.weights(readers), min_suvmax=0)
        count = 0
        for n in range(1, N, 2):
            findings = decide_exam(self.cut[n], self.readings(n, readers), settings)
            found = {(f.slice, f.suvmax_reported) for f in findings if f.outcome in READ_AS_GIVEN}
            count += {pair for pair in found if pair[1] is not None} == self.truth[n]
        return count


@pytest.fixture(scope="module")
def cases():
    return Cases()


class TestEnsemble:
    @pytest.mark.parametrize(
        "readers",
        [
            ("rules", "0% a"),
            ("rules", "5% a"),
            ("rules", "15% a"),
            ("rules", "15% a", "15% b"),
            ("rules", "15% a", "15% a again"),
            ("rules", "5% a", "15% b", "15% c"),
            ("0% a", "15% a", "15% b", "15% c"),
            ("0% a", "15% a", "15% a again"),
            ("5% a", "15% b", "15% c"),
        ],
        ids=" + ".join,
    )
    def test_is_not_below_its_best_reader(self, cases, readers):
        assert cases.right(readers) >= max(cases.right((reader,)) for reader in readers)

    def test_gains_with_each_honest_reader(self, cases):
        one, three = cases.right(("15% a",)), cases.right(("15% a", "15% b", "15% c"))
        with_better = cases.right(("15% a", "15% b", "15% c", "0% a"))
        assert one < three < with_better
