"""Settings as fields of the launchpad."""

from typing import Any

import dagster as dg
import pytest

from assets.run_config import given, run_fields, with_settings
from pipelines.settings import EvaluationSettings, LesionSettings, ProjectSettings, Settings


@with_settings(lesions=LesionSettings)
class Config(dg.Config):
    """A configuration."""

    only_exams: list[str] = []  # noqa: RUF012 (Dagster's Config copies its defaults)


SEEN: list[dict[str, Any]] = []


@dg.asset
def asset(config: Config) -> None:
    SEEN.append(given(config))


def run(values: dict[str, Any]) -> dict[str, Any]:
    quiet = {"console": {"config": {"log_level": "CRITICAL"}}}
    dg.materialize([asset], run_config={"ops": {"asset": {"config": values}}, "loggers": quiet})
    return SEEN[-1]


class TestRunFields:
    def test_names_every_table_and_field_of_the_settings(self) -> None:
        def names(settings: type[Settings], taken: type[dg.Config]) -> None:
            assert list(taken.model_fields) == list(settings.model_fields)
            for name, field in settings.model_fields.items():
                if isinstance(field.annotation, type) and issubclass(field.annotation, Settings):
                    below = taken.model_fields[name].annotation
                    assert below is not None
                    names(field.annotation, below)

        names(ProjectSettings, run_fields(ProjectSettings))

    def test_takes_some_fields_alone(self) -> None:
        assert list(run_fields(EvaluationSettings, "ablation_effort").model_fields) == ["ablation_effort"]

    def test_a_run_sets_only_what_it_names(self) -> None:
        assert run({}) == {}
        values = {"midline_mm": 5, "contour": {"shell_mm": [4.0, 5.0]}}
        assert run({"lesions": values, "only_exams": ["E1"]}) == {"lesions": values}

    @pytest.mark.parametrize(
        "wrong", [{"contour": {"background_part": "high"}}, {"contor": {}}, {"convention": {"base": 1.5}}]
    )
    def test_another_type_or_name_is_refused_before_the_run(self, wrong: dict[str, Any]) -> None:
        with pytest.raises(dg.DagsterInvalidConfigError):
            run({"lesions": wrong})
