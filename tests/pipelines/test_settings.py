"""Settings from TOML on top of the defaults."""

from pathlib import Path

import pytest

from pipelines.evaluation import absolute
from pipelines.imaging.volume import Origin
from pipelines.settings import ProjectSettings, SettingsError, load_settings, merge


class TestLoadSettings:
    def test_gives_the_defaults_without_a_file(self) -> None:
        assert load_settings(None) == ProjectSettings()

    def test_replaces_what_the_file_names_and_keeps_the_rest(self, tmp_path: Path) -> None:
        path = tmp_path / "petar.toml"
        path.write_text('[lesions.convention]\norigin = "feet"\n[consensus]\nmin_suvmax = 3\n')
        settings = load_settings(path)
        assert settings.lesions.convention.origin is Origin.FEET
        assert settings.consensus.min_suvmax == 3.0
        assert settings.lesions.contour == ProjectSettings().lesions.contour

    def test_names_the_settings_there_are_when_one_is_unknown(self, tmp_path: Path) -> None:
        path = tmp_path / "petar.toml"
        path.write_text("[consensus]\nmin_suv = 3\n")
        with pytest.raises(SettingsError, match=r"min_suvmax.*got min_suv"):
            load_settings(path)

    def test_refuses_a_file_that_is_not_there(self, tmp_path: Path) -> None:
        with pytest.raises(SettingsError, match="not there"):
            load_settings(tmp_path / "petar.toml")

    def test_refuses_what_is_no_toml(self, tmp_path: Path) -> None:
        path = tmp_path / "petar.toml"
        path.write_text("consensus:")
        with pytest.raises(SettingsError, match="expected TOML"):
            load_settings(path)


class TestMerge:
    def test_refuses_a_value_of_another_type(self) -> None:
        with pytest.raises(SettingsError, match="expected bool"):
            merge(ProjectSettings(), {"consensus": {"require_anatomy": "yes"}}, "test")

    def test_lists_the_choices_of_an_enum(self) -> None:
        with pytest.raises(SettingsError, match="head, feet"):
            merge(ProjectSettings(), {"lesions": {"convention": {"origin": "top"}}}, "test")

    def test_reads_tables_in_double_brackets_as_a_list(self) -> None:
        vlm = [{"name": "medgemma", "model": "google/medgemma-4b-it", "timeout_s": 5}]
        settings = merge(ProjectSettings(), {"evaluation": {"vlm": vlm}}, "test")
        assert [(v.label, v.timeout_s) for v in settings.evaluation.vlm] == [("medgemma", 5.0)]

    def test_reads_paths_and_lists_of_numbers(self) -> None:
        values = {"external": "autopet", "robustness": {"shifts_mm": [3, 4.5]}}
        settings = merge(ProjectSettings(), {"evaluation": values}, "test").evaluation
        assert (settings.external, settings.robustness.shifts_mm) == (Path("autopet"), (3.0, 4.5))

    @pytest.mark.parametrize(
        ("values", "told"),
        [
            ({"vlm": [{"modl": "x"}]}, "got modl"),
            ({"vlm": ["x"]}, "double brackets"),
            ({"scores": {"green_url": 3}}, "expected str"),
            ({"robustness": {"shifts_mm": ["far"]}}, "expected float"),
        ],
    )
    def test_names_what_is_wrong_in_a_list(self, values: dict, told: str) -> None:
        with pytest.raises(SettingsError, match=told):
            merge(ProjectSettings(), {"evaluation": values}, "test")


class TestAbsolute:
    def test_relative_paths_start_at_the_base(self) -> None:
        values = {"external": "autopet", "checkpoint": [{"name": "c", "folder": "/weights/c"}]}
        settings = absolute(merge(ProjectSettings(), {"evaluation": values}, "test").evaluation, Path("/cohort"))
        assert (settings.external, settings.checkpoint[0].folder) == (Path("/cohort/autopet"), Path("/weights/c"))
