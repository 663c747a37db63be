"""Parameters of a run as fields of the launchpad, made from the settings' models."""

import json
import types
from collections.abc import Callable, Mapping
from enum import Enum
from functools import cache
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar, Union, get_args, get_origin

import dagster as dg
from pydantic import Field, create_model

from pipelines.settings import Settings, allowed

C = TypeVar("C", bound=dg.Config)


class RunFields(dg.Config):
    """A table of settings in a run's configuration; a field that the run does not set is None."""

    def given(self) -> dict[str, Any]:
        """What the run sets, nested as in petar.toml."""
        values = {name: _plain(value) for name, value in self}
        return {name: value for name, value in values.items() if value is not None and value != {}}


@cache
def run_fields(kind: type[Settings], *names: str) -> type[RunFields]:
    """The fields of a table of settings (or those that are named) as Dagster takes them, nested tables included."""
    fields: dict[str, Any] = {}
    schema = kind.model_json_schema()
    for name, field in kind.model_fields.items():
        if names and name not in names:
            continue
        taken = _taken(field.annotation)
        if isinstance(taken, type) and issubclass(taken, RunFields):
            fields[name] = (taken, Field(default_factory=taken, description=(taken.__doc__ or "").strip()))
        else:
            fields[name] = (taken | None, Field(None, description=_described(schema, schema["properties"][name])))
    return create_model(f"{kind.__name__}Fields", __base__=RunFields, __doc__=kind.__doc__, **fields)


def with_settings(**tables: type[Settings] | type[RunFields]) -> Callable[[type[C]], type[C]]:
    """A decorator that gives a configuration the fields of tables of the settings, by the tables' names."""

    def decorate(config: type[C]) -> type[C]:
        fields: dict[str, Any] = {}
        for name, kind in tables.items():
            taken = kind if issubclass(kind, RunFields) else run_fields(kind)
            fields[name] = (taken, Field(default_factory=taken, description=f"[{name}] of petar.toml for this run."))
        return create_model(config.__name__, __base__=config, __doc__=config.__doc__, **fields)

    return decorate


def given(config: dg.Config) -> dict[str, Any]:
    """What a run's configuration sets of the settings, nested as in petar.toml."""
    tables = {name: value.given() for name, value in config if isinstance(value, RunFields)}
    return {name: values for name, values in tables.items() if values}


def _plain(value: Any) -> Any:
    """A value of a run's configuration as petar.toml has it."""
    if isinstance(value, RunFields):
        return value.given()
    if isinstance(value, Enum):
        return value.value
    return [_plain(one) for one in value] if isinstance(value, list) else value


def _described(schema: Mapping[str, Any], field: Mapping[str, Any]) -> str:
    """What a setting is, what it may be, and what it is where nobody sets it."""
    default = field.get("default")
    told = f"Allowed: {allowed(schema, field)}."
    if default is not None:
        told += f" Default: {json.dumps(default, ensure_ascii=False)}."
    return ". ".join([*filter(None, [field.get("description", "").rstrip(".")]), told])


@cache
def _choice(*values: str) -> type[Enum]:
    """Texts of which one is to be chosen: the launchpad offers them."""
    made: type[Enum] = Enum("Choice_" + "_".join(values), {value: value for value in values})  # type: ignore[misc, assignment]  # made
    return made


def _taken(kind: Any) -> Any:
    """The type that Dagster's configuration has for a field's: choices for texts that are listed, texts for paths,
    lists for tuples.
    """
    origin, inside = get_origin(kind), get_args(kind)
    if origin is Annotated:
        return _taken(inside[0])
    if origin in (Union, types.UnionType):
        return _taken(next(one for one in inside if one is not types.NoneType))
    if origin is Literal:
        return _choice(*inside) if isinstance(inside[0], str) else type(inside[0])
    if origin is tuple:
        return list[_taken(inside[0])]  # type: ignore[misc]  # made while running
    if isinstance(origin, type) and issubclass(origin, Mapping):
        return dict[str, _taken(inside[1])]  # type: ignore[misc]  # made while running
    if isinstance(kind, type) and issubclass(kind, Settings):
        return run_fields(kind)
    if isinstance(kind, type) and issubclass(kind, Enum):
        return _choice(*(one.value for one in kind))
    if isinstance(kind, type) and issubclass(kind, Path):
        return str
    return kind
