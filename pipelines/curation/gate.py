"""Whether what was computed since the last publication may be published: not where our own code failed in bulk.

Each shard's stages note what became of the exams that they computed (`PETAR_HOME/unpublished/NN.json`); a publication
forgets it. Problems of the input are no failures and are not counted.
"""

import json
from collections import Counter
from collections.abc import Collection, Mapping
from pathlib import Path

from pipelines.curation.shard_lock import shard_lock
from pipelines.tables import atomic
from pipelines.tables.home import Home
from pipelines.tables.shards import shard_name

Outcomes = Mapping[str, Mapping[str, str | None]]
"""Table -> exam -> message of its failure, null where it was computed well."""

MOST_FAILED = 0.5
"""Share of a stage's computed exams that may fail with one message; more are a fault of ours and not of an exam."""


def refusal(outcomes: Outcomes) -> str | None:
    """Why nothing is to be published; null where it may be: in no stage did all computed exams fail, nor more than half
    with one message.
    """
    for table, exams in outcomes.items():
        messages = Counter(message for message in exams.values() if message is not None)
        if not messages:
            continue
        message, n = messages.most_common(1)[0]
        n_failed = messages.total()
        if n_failed == len(exams) or n > MOST_FAILED * len(exams):
            example = min(exam for exam, said in exams.items() if said == message)
            return (
                f"nothing is published: {n_failed} of {len(exams)} computed exams failed in `{table}`, {n} with "
                f"{message} (exam {example}): correct the code or the settings and curate again; the log of that run "
                "has the traceback"
            )
    return None


def outcomes_path(home: Home, shard: int) -> Path:
    """File of what became of the exams of a shard since the last publication."""
    return home.unpublished / f"{shard_name(shard)}.json"


def note_outcomes(
    home: Home, table: str, shard: int, outcomes: Mapping[str, str | None], forgotten: Collection[str]
) -> None:
    """Notes what became of the exams that a stage computed; the shard's writer calls it. `forgotten`: exams of which an
    earlier note no longer holds.
    """
    path = outcomes_path(home, shard)
    known = json.loads(path.read_text()) if path.exists() else {}
    kept = {exam: message for exam, message in known.get(table, {}).items() if exam not in forgotten}
    noted = {**known, table: kept | dict(outcomes)}
    if noted[table] != known.get(table, {}):
        atomic.write_bytes(path, json.dumps(noted, indent=1, sort_keys=True).encode())


def read_outcomes(home: Home) -> dict[int, Outcomes]:
    """What was noted since the last publication, by shard."""
    return {int(path.stem): json.loads(path.read_text()) for path in sorted(home.unpublished.glob("[0-9]*.json"))}


def of_all_shards(noted: Mapping[int, Outcomes]) -> dict[str, dict[str, str | None]]:
    """The same over all shards."""
    found: dict[str, dict[str, str | None]] = {}
    for shard in noted.values():
        for table, exams in shard.items():
            found.setdefault(table, {}).update(exams)
    return found


def forget_outcomes(home: Home, published: Mapping[int, Outcomes]) -> None:
    """Forgets what was published; a shard that was computed again meanwhile stays noted."""
    for shard, outcomes in published.items():
        path = outcomes_path(home, shard)
        with shard_lock(home, shard):
            if path.exists() and json.loads(path.read_text()) == outcomes:
                path.unlink()
