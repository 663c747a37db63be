"""Settings from TOML on top of the defaults."""

from pathlib import Path

import pytest

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
