"""Where a curation reads and writes, as plain values: all that another process or machine needs to open it."""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from pipelines.cohort.privacy.deidentification import Deidentifier, Pseudonyms, open_secret, read_key
from pipelines.curation.stages.curation import Curation, open_curation
from pipelines.reports.llm.answers import AnswerCache
from pipelines.reports.llm.readers_file import ReadersConfig, load_readers
from pipelines.reports.llm.server_addresses import server_addresses
from pipelines.reports.readers import RulesReader
from pipelines.reports.vocabulary.vocabulary import load_vocabulary, package_vocabulary
from pipelines.settings import ProjectSettings, load_settings
from pipelines.tables.home import Home, use_files, use_lake


@dataclass(frozen=True)
class CurationSource:
    """A cohort folder, the folder that everything is written to, and the file of its settings."""

    cohort: str
    home: str
    settings_file: str = ""
    """TOML with parameters that differ from the defaults; empty: `petar.toml` of the cohort, else the defaults."""
    lake: str = ""
    """Folder or URL of the tables; empty: where the home has them, at first in its folder."""
    files: str = ""
    """Folder or URL of volumes, masks and checkpoints; empty: where the home has them, at first in its folders."""

    @property
    def paths(self) -> Home:
        """The folders below PETAR_HOME; from the first call on the home remembers its lake and its store of files."""
        home = Home(Path(self.home))
        if self.lake:
            use_lake(home, self.lake)
        if self.files:
            use_files(home, self.files)
        return home

    @property
    def cohort_folder(self) -> Path:
        """The input folder."""
        return Path(self.cohort)

    def settings(self) -> ProjectSettings:
        """Parameters of the project, read anew at every call so that an edited file counts at once."""
        return load_settings(Path(self.settings_file) if self.settings_file else None, self.cohort_folder)

    def deidentifier(self, environment: Mapping[str, str] = os.environ) -> Deidentifier:
        """What of the cohort's ids and texts goes into the lake, by the switches in the settings and the key that the
        environment names.

        Raises:
            PrivacyError: the ids are to be hashed and there is no usable key.
        """
        switches, home = self.settings().privacy, self.paths
        key = read_key(environment, home) if switches.hash_ids or switches.mask_reports else None
        secret = open_secret(home) if switches.mask_reports and not key else None
        words = package_vocabulary().lexicon.words if switches.mask_reports else frozenset()
        return Deidentifier(switches, Pseudonyms(key) if key else None, home.links, secret, words)

    def readers(self, environment: Mapping[str, str] = os.environ) -> ReadersConfig:
        """The readers that vote, as the settings' file of readers names them, with the cohort's own `cues.toml` and
        `lexicon.csv`.
        """
        name = self.settings().readers_file
        path = self.cohort_folder / name if name else None
        vocabulary = load_vocabulary(self.cohort_folder)
        config = load_readers(path, environment=environment, vocabulary=vocabulary)
        if all(isinstance(reader, RulesReader) for reader in config.readers):
            return config
        cache, servers = AnswerCache(self.paths.answers), server_addresses(self.paths.servers)
        return load_readers(path, cache=cache, environment=environment, vocabulary=vocabulary, servers=servers)

    def open(self) -> Curation:
        """What a run of the curation works with."""
        return open_curation(self.paths, self.settings().curation, self.readers(), self.deidentifier())


@lru_cache(maxsize=1)
def opened(source: CurationSource) -> Curation:
    """The curation of a source, opened once a process: for workers, whose run has one state of the settings."""
    return source.open()
