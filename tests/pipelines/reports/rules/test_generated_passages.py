"""The rules against some hundred generated passages; `python -m benchmarks.passages` runs ten thousand."""

import pytest

from benchmarks.passages import errors_by_kind
from pipelines.phantom.passages.generator import LANGUAGES, passages


@pytest.mark.parametrize("language", LANGUAGES)
def test_lesions_are_read_and_wrong_ones_are_rare(language):
    table = errors_by_kind(passages(690 if language == "en" else 120, 11, language)).sum()
    assert table["pairs_right"][0] >= 0.97 * table["pairs"][0]
    assert table["wrong_pair"][0] <= 0.01 * table["passages"][0]
