"""Texts of messages."""

import pytest

from pipelines.tables.errors import first_line, listed


class TestFirstLine:
    def test_is_the_first_that_says_something(self) -> None:
        assert first_line(ValueError("\n  no such column: a\nLINE 1: select a")) == "no such column: a"

    def test_is_the_type_where_the_error_says_nothing(self) -> None:
        assert first_line(OSError()) == "OSError"


@pytest.mark.parametrize(
    ("names", "words"), [([], ""), (["a"], "a"), ([1, 2], "1, 2"), (["a", "b", "c", "d"], "a, b, and 2 more")]
)
def test_a_list_says_how_many_are_left_out(names: list[object], words: str) -> None:
    assert listed(names, 2) == words
