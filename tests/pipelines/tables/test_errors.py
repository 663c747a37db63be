"""Errors of other libraries in messages of ours."""

from pipelines.tables.errors import first_line


class TestFirstLine:
    def test_is_the_first_that_says_something(self) -> None:
        assert first_line(ValueError("\n  no such column: a\nLINE 1: select a")) == "no such column: a"

    def test_is_the_type_where_the_error_says_nothing(self) -> None:
        assert first_line(OSError()) == "OSError"
