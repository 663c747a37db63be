"""The rules against some hundred generated passages; `python -m benchmarks.passages` runs ten thousand."""

from benchmarks.passages import errors_by_kind
from pipelines.phantom.passages.generator import passages


def test_pairs_are_right_and_wrong_ones_rare():
    table = errors_by_kind(passages(690, seed=11)).sum()
    assert table["right"][0] >= 0.7 * table["pairs"][0]
    assert table["wrong"][0] <= 0.05 * table["passages"][0]
