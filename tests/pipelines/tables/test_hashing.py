"""Hashes of values and files."""

from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.tables.hashing import hash_of, hash_of_files


class Colour(StrEnum):
    RED = "red"


@dataclass(frozen=True)
class Point:
    x: float
    colour: Colour = Colour.RED


class TestHashOf:
    @given(st.recursive(st.none() | st.booleans() | st.integers() | st.text(), st.lists, max_leaves=8))
    def test_is_equal_for_equal_values(self, value: object) -> None:
        assert hash_of(value) == hash_of(value)

    def test_sees_a_field_of_a_nested_dataclass(self) -> None:
        assert hash_of({"a": [Point(1.0)]}) != hash_of({"a": [Point(2.0)]})

    def test_takes_an_enum_as_its_value(self) -> None:
        assert hash_of(Point(1.0)) == hash_of({"x": 1.0, "colour": "red"})

    def test_does_not_depend_on_the_order_of_a_dict(self) -> None:
        assert hash_of({"a": 1, "b": 2}) == hash_of({"b": 2, "a": 1})

    def test_keeps_the_borders_between_parts(self) -> None:
        assert hash_of("ab", "c") != hash_of("a", "bc")

    def test_refuses_what_has_no_stable_form(self) -> None:
        with pytest.raises(TypeError):
            hash_of(object())


class TestHashOfFiles:
    def test_sees_a_byte_that_changed(self, tmp_path: Path) -> None:
        path = tmp_path / "a"
        path.write_bytes(b"one")
        before = hash_of_files([("a", path)])
        path.write_bytes(b"two")
        assert hash_of_files([("a", path)]) != before

    def test_sees_bytes_that_move_from_one_file_to_the_next(self, tmp_path: Path) -> None:
        a, b = tmp_path / "a", tmp_path / "b"
        a.write_bytes(b"12")
        b.write_bytes(b"3")
        before = hash_of_files([("a", a), ("b", b)])
        a.write_bytes(b"1")
        b.write_bytes(b"23")
        assert hash_of_files([("a", a), ("b", b)]) != before

    def test_does_not_see_the_time_of_a_file(self, tmp_path: Path) -> None:
        import os

        path = tmp_path / "a"
        path.write_bytes(b"one")
        before = hash_of_files([("a", path)])
        os.utime(path, (1, 1))
        assert hash_of_files([("a", path)]) == before
