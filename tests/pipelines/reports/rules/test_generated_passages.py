"""The rules against some hundred generated passages; `python -m benchmarks.passages` runs ten thousand."""

from benchmarks.passages import errors_by_kind
from pipelines.phantom.passages.generator import passages


def test_lesions_are_read_and_wrong_ones_are_rare():
    table = errors_by_kind(passages(690, seed=11)).sum()
    assert table["pairs_right"][0] >= 0.97 * table["pairs"][0]
    assert table["wrong_pair"][0] <= 0.01 * table["passages"][0]
