"""The one resource: where the cohort comes from and where everything is written."""

import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TypeVar

import dagster as dg
from pydantic import Field, PrivateAttr

from assets.instance import name_process
from model.petar.config import check_model
from pipelines.cohort.privacy.deidentification import Deidentifier
from pipelines.curation.source import CurationSource
from pipelines.curation.stages.curation import Curation
from pipelines.reports.llm.readers_file import ReadersConfig
from pipelines.reports.scorecard import Labelled, load_labelled
from pipelines.review.quality_check_result import CheckResult
from pipelines.review.quality_checks import CHECKS, Check, checked_version
from pipelines.settings import EvaluationSettings, ProjectSettings, Settings
from pipelines.tables.home import Home
from pipelines.tables.storage_paths import is_url

T = TypeVar("T")


class Workspace(dg.ConfigurableResource):
    """A cohort folder, the folder that everything is written to, and the parameters of the curation."""

    cohort: str = Field(description="Input folder with reports and exams.")
    home: str = Field(description="Folder that everything is written to.")
    settings_file: str = Field(
        default="",
        description="TOML with parameters that differ from the defaults; empty: petar.toml of the cohort, where it has "
        "one.",
    )
    lake: str = Field(
        default="",
        description="Folder or URL of the tables (s3://bucket/prefix); empty: where the home has them, at first in its "
        "folder.",
    )
    files: str = Field(
        default="",
        description="Folder or URL of volumes, masks and checkpoints (s3://bucket/prefix); empty: where the home has "
        "them, at first in its folders.",
    )

    _checked: dict[tuple[str, str], CheckResult] = PrivateAttr(default_factory=dict)
    """Results of the checks that a run has made, by name and version of what was checked."""

    def setup_for_execution(self, context: dg.InitResourceContext) -> None:
        """Lets others see whether the process of a run lives."""
        if context.run is not None and context.instance is not None and not context.instance.is_ephemeral:
            name_process(context.instance, context.run, self.paths)

    @property
    def source(self) -> CurationSource:
        """The same as plain values, for other processes."""
        return CurationSource(self.cohort, self.home, self.settings_file, self.lake, self.files)

    @property
    def paths(self) -> Home:
        """The folders below PETAR_HOME; from the first call on the home remembers its lake and its store of files."""
        return self.source.paths

    @property
    def cohort_folder(self) -> Path:
        """The input folder."""
        return Path(self.cohort)

    @property
    def exams_folder(self) -> Path:
        """Folder with one folder an exam, named as the exam is in the lake."""
        return self.paths.links if self.settings().privacy.hash_ids else self.cohort_folder / "exams"

    def settings(self) -> ProjectSettings:
        """Parameters of the project, read anew for every run so that an edited file counts at once.

        Without a file of its own the workspace takes `petar.toml` of the cohort folder where there is one: how an
        institution counts its slices belongs to its cohort.
        """
        settings = self.source.settings()
        check_model(settings.model)
        return settings

    def evaluation(self) -> EvaluationSettings:
        """The settings of the evaluation; relative paths in them start at the cohort folder."""
        settings = absolute(self.settings().evaluation, self.cohort_folder.absolute())
        scores = settings.scores.changed(green_cache=settings.scores.green_cache or self.paths.answers)
        return settings.changed(scores=scores, predictions=settings.predictions or self.paths.predictions)

    def api_keys(self) -> dict[str, str]:
        """Keys of the servers of `[[evaluation.vlm]]`, by the names of their environment variables."""
        names = {vlm.api_key_env for vlm in self.settings().evaluation.vlm} - {""}
        return {name: os.environ[name] for name in names if name in os.environ}

    def deidentifier(self) -> Deidentifier:
        """What of the cohort's ids and texts goes into the lake; see `CurationSource.deidentifier`."""
        return self.source.deidentifier()

    def curation(self) -> Curation:
        """What a run of the curation works with."""
        return self.source.open()

    def check_results(self, checks: Sequence[Check] = CHECKS) -> Iterator[CheckResult]:
        """Results of quality checks over the home, in their order; a run makes each once while the rows and the
        settings stay the same, so that its other steps take what one of them found.
        """
        home, settings = self.paths, self.settings()
        version = checked_version(home, settings)
        for check in checks:
            key = (check.name, version)
            if key not in self._checked:
                self._checked[key] = check.run(home, settings)
            yield self._checked[key]

    def readers(self) -> ReadersConfig:
        """The readers that vote; see `CurationSource.readers`."""
        return self.source.readers()

    def labelled(self) -> list[Labelled]:
        """The labelled sentences that come with the package, and those of the settings' own file behind them."""
        name = self.settings().labelled_file
        return load_labelled() + (load_labelled(self.cohort_folder / name) if name else [])


def absolute(settings: T, base: Path) -> T:
    """The settings with every relative path in them taken to start at `base`."""
    if isinstance(settings, Path):
        return base / settings  # type: ignore[return-value]  # a path stays a path
    if isinstance(settings, tuple):
        return tuple(absolute(item, base) for item in settings)  # type: ignore[return-value]  # a tuple stays one
    if isinstance(settings, Settings):
        return settings.changed(**{name: absolute(value, base) for name, value in settings})
    return settings


def workspace_from(environment: os._Environ[str] | dict[str, str]) -> Workspace:
    """The workspace that PETAR_HOME (default ./data), PETAR_COHORT (default $PETAR_HOME/phantom), PETAR_SETTINGS and
    PETAR_LAKE (default $PETAR_HOME/lake) name, and PETAR_FILES (default: PETAR_HOME alone).
    """
    home = Path(environment.get("PETAR_HOME") or "data").absolute()
    cohort = Path(environment.get("PETAR_COHORT") or home / "phantom").absolute()
    settings = environment.get("PETAR_SETTINGS") or ""
    lake = environment.get("PETAR_LAKE") or ""
    files = environment.get("PETAR_FILES") or ""
    return Workspace(
        cohort=str(cohort),
        home=str(home),
        settings_file=str(Path(settings).absolute()) if settings else "",
        lake=lake if not lake or is_url(lake) else str(Path(lake).absolute()),
        files=files if not files or is_url(files) else str(Path(files).absolute()),
    )
