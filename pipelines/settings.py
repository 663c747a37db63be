"""Parameters of a curation from a TOML file, on top of the defaults in the code."""

import dataclasses
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path
from types import NoneType
from typing import Any, TypeVar, get_args, get_origin, get_type_hints

from pipelines.cohort.privacy.deidentification import PrivacySettings
from pipelines.curation.run import CurationSettings
from pipelines.dataset.samples import SampleSettings
from pipelines.dataset.totalsegmentator import AnatomySettings
from pipelines.evaluation import EvaluationSettings
from pipelines.exports.viewer_files import ExportSettings
from pipelines.imaging.lesions.find_lesions import LesionSettings
from pipelines.imaging.reading.exam import ExamSettings
from pipelines.reports.consensus import ConsensusSettings
from pipelines.review.settings import QualitySettings

T = TypeVar("T")


class SettingsError(ValueError):
    """A setting that is not there or has the wrong type; the message lists what there is."""


@dataclass(frozen=True)
class ModelSettings:
    """Which model is trained."""

    preset: str = "tiny"
    """`tiny` (a CPU, seconds), `small` (one consumer GPU) or `petar-4b`."""
    epochs: int = 0
    """Epochs of every stage; 0: the preset's for each."""
    effort: float = 1.0
    """Part of the preset's epochs, and of the steps that teach a model without weights its language, to train."""


@dataclass(frozen=True)
class ProjectSettings:
    """Every parameter of the project; each field is a table of the settings file."""

    exam: ExamSettings = field(default_factory=ExamSettings)
    readers_file: str = ""
    """TOML that names the readers and the structurer; empty: the one that comes with the package, rules alone."""
    labelled_file: str = ""
    """CSV of labelled sentences beside the cohort that the scorecard adds to those of the package; empty: none."""
    consensus: ConsensusSettings = field(default_factory=ConsensusSettings)
    lesions: LesionSettings = field(default_factory=LesionSettings)
    exports: ExportSettings = field(default_factory=ExportSettings)
    anatomy: AnatomySettings = field(default_factory=AnatomySettings)
    samples: SampleSettings = field(default_factory=SampleSettings)
    model: ModelSettings = field(default_factory=ModelSettings)
    evaluation: EvaluationSettings = field(default_factory=EvaluationSettings)
    privacy: PrivacySettings = field(default_factory=PrivacySettings)
    quality: QualitySettings = field(default_factory=QualitySettings)

    @property
    def curation(self) -> CurationSettings:
        """The part that the tables of the curation depend on."""
        return CurationSettings(exam=self.exam, consensus=self.consensus, lesions=self.lesions)


def load_settings(path: Path | None) -> ProjectSettings:
    """The settings in a TOML file, whose tables are the fields of `ProjectSettings`; without a file, the defaults.

    Raises:
        SettingsError: the file is not there, is no TOML, or names a setting that does not exist.
    """
    if path is None:
        return ProjectSettings()
    if not path.is_file():
        raise SettingsError(
            f"expected a settings file, got {path}, which is not there: set PETAR_SETTINGS to it or unset it"
        )
    return merge(ProjectSettings(), parse(path.read_text(), str(path)), str(path))


def parse(text: str, where: str) -> dict[str, Any]:
    """TOML text as a dict.

    Raises:
        SettingsError: it is no TOML.
    """
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise SettingsError(f"expected TOML in {where}, got {error}: write lines of the form name = value") from error


def merge(settings: T, values: Mapping[str, Any], where: str) -> T:
    """A frozen dataclass with some of its fields, and those of dataclasses inside it, replaced.

    Raises:
        SettingsError: a name that is no field, or a value of another type than the field's.
    """
    names = {f.name for f in dataclasses.fields(settings)}  # type: ignore[arg-type]  # T is always a dataclass here
    hints = get_type_hints(type(settings))
    changes: dict[str, Any] = {}
    for name, value in values.items():
        if name not in names:
            raise SettingsError(
                f"expected one of {', '.join(sorted(names))} in {where}, got {name}: correct the name or remove it"
            )
        old = getattr(settings, name)
        if dataclasses.is_dataclass(old):
            if not isinstance(value, Mapping):
                raise SettingsError(
                    f"expected a table for {name} in {where}, got {value!r}: write [{name}] and its fields below"
                )
            changes[name] = merge(old, value, f"{where}, {name}")
        else:
            changes[name] = _convert(old, value, hints[name], f"{where}, {name}")
    return dataclasses.replace(settings, **changes)  # type: ignore[type-var]


def _convert(old: Any, value: Any, hint: Any, where: str) -> Any:
    if isinstance(old, Enum):
        try:
            return type(old)(value)
        except ValueError as error:
            options = ", ".join(str(member.value) for member in type(old))
            raise SettingsError(f"expected one of {options} for {where}, got {value!r}") from error
    kinds = {hint, *get_args(hint)}
    if isinstance(old, tuple) and isinstance(value, list):
        return tuple(_item(get_args(hint)[0], item, f"{where}, item {n}") for n, item in enumerate(value, 1))
    if old is None and isinstance(value, list) and (pair := next((k for k in kinds if get_origin(k) is tuple), None)):
        return tuple(_item(get_args(pair)[0], item, where) for item in value)
    if Path in kinds and isinstance(value, str):
        return Path(value)
    if isinstance(old, bool) != isinstance(value, bool):
        raise SettingsError(f"expected {type(old).__name__} for {where}, got {value!r}")
    if isinstance(old, float) and isinstance(value, int):
        return float(value)
    known: list[type] = [k for k in kinds if isinstance(k, type) and k is not NoneType]
    wanted = [type(old)] if old is not None else known
    if wanted and not isinstance(value, tuple(wanted)):
        raise SettingsError(f"expected {' or '.join(o.__name__ for o in wanted)} for {where}, got {value!r}")
    return value


def _item(kind: Any, value: Any, where: str) -> Any:
    """One value of a list: of a table of its own where its type is a dataclass."""
    if dataclasses.is_dataclass(kind) and isinstance(kind, type):
        if not isinstance(value, Mapping):
            raise SettingsError(f"expected a table in {where}, got {value!r}: write it in double brackets")
        return merge(kind(), value, where)
    if kind is Path and isinstance(value, str):
        return Path(value)
    if kind is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if isinstance(kind, type) and (not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool)):
        raise SettingsError(f"expected {kind.__name__} for {where}, got {value!r}")
    return value
