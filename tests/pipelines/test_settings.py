"""Settings from TOML on top of the defaults."""

import json
import math
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pipelines.settings import (
    ContourSettings,
    Origin,
    ProjectSettings,
    SampleSettings,
    SettingsError,
    load_settings,
    overlaid,
    unit_of,
)


def fields(node: dict[str, Any], defs: dict[str, Any], *path: str | int) -> Iterator[tuple[tuple, dict[str, Any]]]:
    """Path and JSON schema of every value of the settings; the one item of a list stands at index 0."""
    if "anyOf" in node:
        node = {**node, **next(one for one in node["anyOf"] if one.get("type") != "null")}
    if "$ref" in node:
        node = {**defs[node["$ref"].rpartition("/")[2]], **node}
    if node.get("type") == "object" and "properties" in node:
        for name, below in node["properties"].items():
            yield from fields(below, defs, *path, name)
    elif node.get("type") == "array" and "prefixItems" not in node:
        yield from fields(node["items"], defs, *path, 0)
    else:
        yield path, node


SCHEMA = ProjectSettings.model_json_schema()
FIELDS = list(fields(SCHEMA, SCHEMA["$defs"]))
NUMBERS = [(path, node) for path, node in FIELDS if node.get("type") in ("number", "integer")]
PAIRS = [(path, node) for path, node in FIELDS if "prefixItems" in node]


def nested(path: tuple, value: object) -> Any:
    """A value in the tables and lists that its path names."""
    for part in reversed(path):
        value = [value] if isinstance(part, int) else {part: value}
    return value


def message(values: dict[str, Any]) -> str:
    with pytest.raises(SettingsError) as error:
        overlaid(ProjectSettings(), values, "petar.toml")
    return str(error.value)


def toml(values: dict[str, Any], table: str = "") -> str:
    """The settings as TOML; what is None is left out. JSON's numbers, texts, booleans and lists are TOML's."""
    tables = {name: value for name, value in values.items() if isinstance(value, dict)}
    lines = [f"[{table}]"] if table else []
    lines += [f"{k} = {json.dumps(v)}" for k, v in values.items() if k not in tables and v is not None]
    return "\n".join(lines + [toml(below, f"{table}.{name}".strip(".")) for name, below in tables.items()]) + "\n"


class TestLoadSettings:
    def test_gives_the_defaults_without_a_file(self) -> None:
        assert load_settings(None) == ProjectSettings()

    def test_reads_the_defaults_back(self, tmp_path: Path) -> None:
        path = tmp_path / "petar.toml"
        path.write_text(toml(ProjectSettings().model_dump(mode="json")))
        assert len(tomllib.loads(path.read_text())["lesions"]["contour"]) == len(ContourSettings.model_fields)
        assert load_settings(path) == ProjectSettings()

    def test_replaces_what_the_file_names_and_keeps_the_rest(self, tmp_path: Path) -> None:
        path = tmp_path / "petar.toml"
        path.write_text('[lesions.convention]\norigin = "feet"\n[consensus]\nmin_suvmax = 3\n')
        settings = load_settings(path)
        assert settings.lesions.convention.origin is Origin.FEET
        assert settings.consensus.min_suvmax == 3.0
        assert settings.lesions.contour == ProjectSettings().lesions.contour

    def test_names_file_table_key_value_and_range_of_all_that_is_wrong(self, tmp_path: Path) -> None:
        path = tmp_path / "petar.toml"
        path.write_text("[lesions.contour]\nbackground_part = 7.0\nshell_mm = [4.3]\n[consensus]\nmin_suv = 3\n")
        with pytest.raises(SettingsError) as error:
            load_settings(path)
        told = sorted(str(error.value).split("\n"))
        assert len(told) == 3
        assert told[0].startswith("expected a list of 2 values, each a number >= 0 and <= 100 [mm] for shell_mm ")
        assert told[0].endswith(f" in [lesions.contour] of {path}, got [4.3]: correct or remove it")
        assert told[1].startswith("expected a number > 0 and < 1 [ratio] for background_part in [lesions.contour] of ")
        assert told[2].startswith("expected one of min_suvmax, require_anatomy, weights in [consensus] of ")

    def test_refuses_a_file_that_is_not_there(self, tmp_path: Path) -> None:
        with pytest.raises(SettingsError, match="No such file"):
            load_settings(tmp_path / "petar.toml")

    def test_refuses_what_is_no_toml(self, tmp_path: Path) -> None:
        path = tmp_path / "petar.toml"
        path.write_text("consensus:")
        with pytest.raises(SettingsError, match="expected TOML"):
            load_settings(path)


class TestRanges:
    def test_there_are_numbers_and_pairs_to_look_at(self) -> None:
        assert (len(NUMBERS) >= 73, len(PAIRS) >= 5) == (True, True)

    @pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, 1e308, -1e308, "1", True, [1.0], 10**400])
    def test_a_number_is_finite_within_its_range_and_nothing_else(self, value: object) -> None:
        for path, _ in NUMBERS:
            said = message(nested(path, value))
            key = next(part for part in reversed(path) if isinstance(part, str))
            assert re.match(rf"expected a.* for (item 1 of )?{key} .*petar.toml, got ", said), said

    def test_a_number_has_two_limits_and_a_unit(self) -> None:
        for path, node in NUMBERS:
            assert {"minimum", "exclusiveMinimum"} & set(node), path
            assert {"maximum", "exclusiveMaximum"} & set(node), path
            if node.get("minimum", node.get("exclusiveMinimum")) >= 0:
                assert "expected" in message(nested(path, -1))
            if isinstance(path[-1], str):
                assert unit_of(node["description"]), path

    def test_a_list_of_fixed_length_is_of_that_length(self) -> None:
        for path, node in PAIRS:
            right = node.get("default") or [1.0] * len(node["prefixItems"])
            for wrong in (right[:1], [*right, right[0]], right[0]):
                assert "expected" in message(nested(path, wrong)), path

    def test_every_field_says_where_its_default_comes_from(self) -> None:
        own = [(path, node) for path, node in FIELDS if isinstance(path[-1], str)]
        assert [path for path, node in own if "Source: " not in node.get("description", "")] == []

    @pytest.mark.parametrize(
        ("values", "said"),
        [
            (
                {"lesions": {"contour": {"shell_mm": [5.0, 4.0]}}},
                "expected the lower of two different",
            ),
            ({"samples": {"val": 0.5, "test": 0.5}}, r"expected val \+ test < 1"),
            ({"consensus": {"require_anatomy": "yes"}}, "expected true or false for require_anatomy"),
            ({"lesions": {"convention": {"origin": "top"}}}, "expected one of head, feet for origin"),
            (
                {"consensus": {"weights": {"rules": -1}}},
                "expected a number >= 0 .*rules in .consensus.weights",
            ),
            ({"evaluation": {"vlm": [{"modl": "x"}]}}, r"in \[evaluation.vlm.1\] of petar.toml, got modl"),
            ({"evaluation": {"vlm": ["x"]}}, "item 1 of vlm in .evaluation."),
            ({"evaluation": {"scores": {"green_url": 3}}}, "expected a text of the form"),
            ({"evaluation": {"robustness": {"shifts_mm": ["far"]}}}, "expected a number .* item 1 of shifts_mm"),
            ({"lesions": 3}, "expected a table for lesions of petar.toml, got 3"),
        ],
    )
    def test_names_what_is_wrong(self, values: dict, said: str) -> None:
        with pytest.raises(SettingsError, match=said):
            overlaid(ProjectSettings(), values, "petar.toml")


class TestOverlaid:
    def test_keeps_what_is_not_named(self) -> None:
        below = ProjectSettings().changed(samples=SampleSettings(val=0.2))
        contour = overlaid(below, {"lesions": {"contour": {"background_part": 0.6}}}, "config")
        assert (contour.lesions.contour.background_part, contour.lesions.contour.level) == (0.6, 0.95)
        assert contour.samples.val == 0.2

    def test_reads_tables_in_double_brackets_as_a_list(self) -> None:
        vlm = [{"name": "medgemma", "model": "google/medgemma-4b-it", "timeout_s": 5}]
        settings = overlaid(ProjectSettings(), {"evaluation": {"vlm": vlm}}, "test")
        assert [(v.label, v.timeout_s) for v in settings.evaluation.vlm] == [("medgemma", 5.0)]

    def test_reads_paths_and_lists_of_numbers(self) -> None:
        values = {"external": "autopet", "robustness": {"shifts_mm": [3, 4.5]}}
        settings = overlaid(ProjectSettings(), {"evaluation": values}, "test").evaluation
        assert (settings.external, settings.robustness.shifts_mm) == (Path("autopet"), (3.0, 4.5))
