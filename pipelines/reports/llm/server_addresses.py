"""Addresses of servers that jobs of a cluster started, a file a server in a folder of the home."""

import json
import urllib.request
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

_ANSWER_S = 10.0


def server_addresses(folder: Path) -> Mapping[str, tuple[str, ...]]:
    """The addresses of each model's servers, by the model's name; a file that is no such address is passed over.

    Args:
        folder: `Home.servers`; it may not exist.
    """
    found: dict[str, list[str]] = {}
    for path in sorted(folder.glob("*.json")):
        with suppress(OSError, ValueError, KeyError, TypeError):
            values = json.loads(path.read_text())
            found.setdefault(str(values["model"]), []).append(str(values["url"]))
    return {model: tuple(urls) for model, urls in found.items()}


def forget_dead_servers(folder: Path) -> None:
    """Removes the addresses at which no server answers: those of jobs that were killed."""
    for path in folder.glob("*.json"):
        try:
            url = str(json.loads(path.read_text())["url"]).removesuffix("/v1")
            with urllib.request.urlopen(f"{url}/health", timeout=_ANSWER_S):
                pass
        except (OSError, ValueError, KeyError, TypeError):
            path.unlink(missing_ok=True)
