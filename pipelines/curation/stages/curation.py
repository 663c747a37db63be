"""What a run of a curation works with, opened once and handed to every stage."""

import logging
from collections.abc import Mapping
from dataclasses import dataclass, replace

from pipelines.cohort.privacy.deidentification import NO_DEIDENTIFICATION, Deidentifier
from pipelines.reports.llm.readers_file import ReadersConfig, load_readers
from pipelines.reports.reader_weights import measured, read_weights, write_weights
from pipelines.reports.readers import may_vote
from pipelines.reports.scorecard import labelled_votes, load_labelled
from pipelines.settings import CurationSettings
from pipelines.tables.home import Home
from pipelines.tables.lake import Lake
from pipelines.tables.locks import lock

_TRIED: set[tuple[object, ...]] = set()
"""Readers that this process has measured: where a server is down, each shard would wait for it anew."""


@dataclass(frozen=True)
class Curation:
    """Where a run writes (`home` and the `lake` of its tables), its parameters, and who reads the reports."""

    home: Home
    lake: Lake
    settings: CurationSettings
    readers: ReadersConfig
    deidentifier: Deidentifier = NO_DEIDENTIFICATION
    """How dates of images are moved, as those of the reports were."""

    @property
    def weights(self) -> Mapping[str, float]:
        """Weights of the readers' votes: those of the settings, else the measured ones; empty for a reader alone."""
        names = [reader.name for reader in self.readers.readers]
        known = read_weights(self.home.root) if len(names) > 1 else None
        silent = {reader.name: 0.0 for reader in self.readers.readers if not may_vote(reader)}
        weights = {**(known.weights if known else {}), **silent, **self.settings.consensus.weights}
        return {name: float(weights[name]) for name in names if name in weights} if len(names) > 1 else {}

    def ensure_weights(self, log: logging.Logger) -> None:
        """Measures the weights of several readers on the labelled texts, unless these readers were measured."""
        readers = [reader for reader in self.readers.readers if may_vote(reader)]
        versions = {reader.name: reader.version for reader in readers}
        tried = (str(self.home.root), *sorted(versions.items()))
        if len(readers) < 2 or tried in _TRIED:
            return
        _TRIED.add(tried)
        with lock(self.home.root / "locks" / "reader_weights"):
            known = read_weights(self.home.root)
            if known is not None and known.versions == versions:
                return
            log.info("measuring the weights of %s on the labelled texts", ", ".join(versions))
            found = measured(labelled_votes(load_labelled(), readers, self.readers.vocabulary), versions)
            for name in set(versions) - set(found.versions):
                log.warning("reader %s read none of the labelled texts: it has no vote until it does", name)
            earlier = known.weights if known is not None else {}
            weights = {name: w if name in found.versions else earlier.get(name, w) for name, w in found.weights.items()}
            write_weights(self.home.root, replace(found, weights=weights))


def open_curation(
    home: Home,
    settings: CurationSettings = CurationSettings(),
    readers: ReadersConfig | None = None,
    deidentifier: Deidentifier = NO_DEIDENTIFICATION,
) -> Curation:
    """The curation of a home with these parameters and readers; without readers the rules alone."""
    return Curation(home, Lake(home.lake), settings, readers or load_readers(), deidentifier)
