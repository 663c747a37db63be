"""Versions of a curation that were accepted for use under a name, and where versions lie."""

import json
from dataclasses import dataclass
from pathlib import Path

from pipelines.tables.home import Home

ACCEPTED_FILE = "accepted.json"


class VersionError(ValueError):
    """A version that is missing or cannot be used; the message says what to do."""


@dataclass(frozen=True)
class Accepted:
    """A version accepted for use under a name."""

    name: str
    version: str
    who: str
    when: str
    note: str = ""


def version_folder(home: Home, version: str) -> Path:
    """Folder of a version; a pinned one is a home of its own."""
    return home.versions / version


def read_accepted(home: Home) -> dict[str, Accepted]:
    """The accepted versions by name."""
    path = home.versions / ACCEPTED_FILE
    return {name: Accepted(**value) for name, value in json.loads(path.read_text()).items()} if path.exists() else {}


def accepted_folder(home: Home, name: str) -> Path:
    """Folder of the version that was accepted under a name.

    Raises:
        VersionError: there is none.
    """
    accepted = read_accepted(home)
    if name not in accepted:
        raise VersionError(
            f"expected the name of an accepted version, got {name!r}, accepted are: {', '.join(accepted) or 'none'}: "
            "accept a version under it (petar accept), or correct [lesions.calibration] accepted in petar.toml"
        )
    return version_folder(home, accepted[name].version)
