"""What a run of a curation works with, opened once and handed to every stage."""

from dataclasses import dataclass

from pipelines.reports.llm.readers_file import ReadersConfig, load_readers
from pipelines.settings import CurationSettings
from pipelines.tables.home import Home
from pipelines.tables.lake import Lake


@dataclass(frozen=True)
class Curation:
    """Where a run writes (`home` and the `lake` of its tables), its parameters, and who reads the reports."""

    home: Home
    lake: Lake
    settings: CurationSettings
    readers: ReadersConfig


def open_curation(
    home: Home, settings: CurationSettings = CurationSettings(), readers: ReadersConfig | None = None
) -> Curation:
    """The curation of a home with these parameters and readers; without readers the rules alone."""
    return Curation(home, Lake(home.lake), settings, readers or load_readers())
