"""`corrections.csv` of a cohort: fields of findings that a physician corrects; they override readers and reviews.

A line is `finding, field, value, who, when`. Of several lines for one field of a finding the one of the latest `when`
counts, the lower one in the file where they are of one time. A line that can not be taken is kept with its reason and
changes nothing; the others are taken.
"""

import json
import math
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from pipelines.cohort.privacy.deidentification import NO_DEIDENTIFICATION, Deidentifier
from pipelines.cohort.table_files import TableFileError, TableRow, read_table_file, without_lone_surrogates
from pipelines.tables import atomic
from pipelines.tables.hashing import hash_of
from pipelines.tables.outcomes import Outcome
from pipelines.tables.provenance import code_version
from pipelines.tables.report_fields import COMPARISONS, LATERALITIES, REGIONS
from pipelines.tables.safe_text import error_reason, without_quotes
from pipelines.tables.shards import N_SHARDS, shard_name, shard_of

FILE_NAME = "corrections.csv"
COLUMNS = ("finding", "field", "value", "who", "when")
FIELDS = (
    *("outcome", "slice", "suvmax_reported", "region", "organ", "subsite", "laterality", "comparison", "text"),
    *("candidate", "physiologic", "join", "cut", "added"),
)
PLACES = ("join", "cut")
"""Fields of which each line adds a place to a finding; an empty value takes back all earlier ones."""
_TYPED_PLACES = ("organ", "subsite")
"""Fields whose value is a place in the body in words of one's own."""
ADDED = "added"
"""Field of a finding that no report has: a lesion that a person marked, at a place. An empty value takes it back."""
COLUMN_OF = {"physiologic": "is_physiologic", "join": "joined_at", "cut": "cut_at"}
"""Column of `findings` that a field sets, where its name is another."""
NOT_NAMED = "(no exam named)"
"""Exam of a line whose finding names none, so that the line is not lost."""

MOST_SLICE = 999_999
"""Slices of an exam; scanners give hundreds to a few thousand."""
MOST_SUV = 100_000
"""A lesion's SUV; the largest that was ever reported is in the hundreds."""
MOST_MM = 5000
"""A coordinate of a voxel; scanners' beds are 2 m long."""

_ALIASES = {"finding_id": "finding", "corrected_by": "who", "corrected_at": "when"}
_ACCEPT, _REJECT = ("accept", "accepted"), ("reject", "rejected")


class CorrectionsError(ValueError):
    """The file of corrections can not be read at all. Curation stops then: without it, corrections would be undone."""


@dataclass(frozen=True)
class Correction:
    """One line of corrections.csv. `problem` says why it can not be taken, null where it can."""

    finding_id: str
    field: str
    value: str
    who: str
    when: str
    problem: str | None = None
    superseded: bool = False

    @property
    def exam_id(self) -> str:
        """Exam of the finding, as its id names it."""
        exam_id, _, text = self.finding_id.rpartition(":")
        return exam_id if exam_id.strip() and text else NOT_NAMED


def read_corrections(path: Path) -> list[Correction]:
    """Every line of a file of corrections, in its order; none where there is no such file.

    Raises:
        CorrectionsError: the file is no text, or lacks a column.
    """
    if not path.is_file():
        return []
    try:
        table = read_table_file(path)
        names = [_ALIASES.get(name.strip().lower(), name.strip().lower()) for name in table.header]
        missing = [name for name in COLUMNS if name not in names]
        if missing:
            raise CorrectionsError(
                f"expected the columns {', '.join(COLUMNS)} in {path}, got {', '.join(names) or 'none'}: add "
                f"{', '.join(missing)}; until then nothing is curated, so that no correction is undone"
            )
        found = [_correction(names, row) for row in table.rows if any(row.cells)]
    except (TableFileError, OSError) as error:
        reason = str(error) if isinstance(error, TableFileError) else f"it cannot be read ({error_reason(error)})"
        raise CorrectionsError(
            f"{path}: {reason}; until then nothing is curated, so that no correction is undone"
        ) from error
    return _with_superseded(found)


def with_problem(one: Correction, where: str) -> Correction:
    """The same with its problem, if it has one; `where` it stands is named before it."""
    problem = _problem(one)
    return replace(one, problem=f"{where}: {problem}") if problem else one


def _correction(names: Sequence[str], row: TableRow) -> Correction:
    cells = dict(zip(names, row.cells, strict=False))
    values = {name: without_lone_surrogates(cells.get(name, "").strip()) for name in COLUMNS}
    made = Correction(values["finding"], values["field"].lower(), values["value"], values["who"], values["when"])
    n_more = len(row.cells) - len(names)
    problem = f"expected {len(names)} cells, got {n_more} more: quote a value that holds a comma" if n_more > 0 else ""
    problem = problem or row.problem or _problem(made) or ""
    return replace(made, problem=f"line {row.number}: {problem}") if problem else made


def _problem(one: Correction) -> str | None:
    if one.exam_id == NOT_NAMED:
        return (
            f"expected a finding (<exam>:<8 hex>), got {_shown(one.finding_id)}: copy finding_id of the view findings"
        )
    if one.field not in FIELDS:
        return f"unknown field {_shown(one.field)}: expected one of {', '.join(FIELDS)}"
    if not one.who:
        return "expected who corrects, got nothing: name the person"
    try:
        datetime.fromisoformat(one.when)
    except ValueError:
        return f"expected when as 2026-01-31 or 2026-01-31T12:00, got {_shown(one.when)}"
    try:
        parse_value(one.field, one.value)
    except ValueError as error:
        return f"bad value: {error}"
    return None


def parse_value(field: str, text: str) -> Any:
    """The value of a field that a correction's text means; an empty text is an unknown value where a field may be one.

    Raises:
        ValueError: the text is no value of that field; the message says what was expected.
    """
    match field:
        case "outcome":
            if text.lower() in _ACCEPT:
                return Outcome.ACCEPTED
            if text.lower() in _REJECT:
                return Outcome.CORRECTED
            raise ValueError(f"expected accept or reject, got {_shown(text)}")
        case "slice":
            if not re.fullmatch(r"[0-9]{1,6}", text):
                raise ValueError(f"expected a whole number of at most {MOST_SLICE} as slice, got {_shown(text)}")
            return int(text)
        case "suvmax_reported":
            try:
                number = float(text)
            except ValueError:
                number = math.nan
            if not 0 <= number <= MOST_SUV:
                raise ValueError(
                    f"expected a number of at least 0 and at most {MOST_SUV} as SUVmax, got {_shown(text)}"
                )
            return number
        case "candidate":
            return _candidate(text) if text else None
        case "laterality":
            return _one_of(LATERALITIES, text) if text else None
        case "comparison":
            return _one_of(COMPARISONS, text) if text else "none"
        case "region":
            return _one_of(REGIONS, text) if text else None
        case "physiologic":
            return _yes_or_no(text)
        case "join" | "cut" | "added":
            return _place(text) if text else None
        case "text":
            return text
    return text or None


def _candidate(text: str) -> str:
    """A candidate's number, or the position of a peak as three numbers parted by blanks."""
    if place := _place_of(text):
        return place
    if re.fullmatch(r"[1-9][0-9]?", text):
        return text
    raise ValueError(
        f"expected the number of a candidate, or a position as x y z (RAS mm, each at most {MOST_MM} from 0), got "
        f"{_shown(text)}"
    )


def _place_of(text: str) -> str | None:
    """Three numbers parted by blanks, as they are kept; None where the text is something else."""
    parts = text.replace(",", " ").split()
    try:
        numbers = [float(part) for part in parts]
    except ValueError:
        numbers = []
    if len(numbers) == 3 and all(abs(n) <= MOST_MM for n in numbers):
        return " ".join(f"{n:.1f}" for n in numbers)
    return None


def _place(text: str) -> str:
    if place := _place_of(text):
        return place
    raise ValueError(f"expected a position as x y z (RAS mm, each at most {MOST_MM} from 0), got {_shown(text)}")


def _yes_or_no(text: str) -> bool:
    if text.lower() in ("yes", "no"):
        return text.lower() == "yes"
    raise ValueError(f"expected yes or no, got {_shown(text)}")


def _shown(text: str, longest: int = 40) -> str:
    """A value for a message, cut where it is long."""
    return repr(text if len(text) <= longest else f"{text[:longest]}...")


def _one_of(options: Sequence[str], text: str) -> str:
    if text.lower() not in options:
        raise ValueError(f"expected one of {', '.join(options)}, got {_shown(text)}")
    return text.lower()


def _when(one: Correction) -> datetime:
    at = datetime.fromisoformat(one.when)
    return at if at.tzinfo else at.replace(tzinfo=UTC)


def _with_superseded(found: Sequence[Correction]) -> list[Correction]:
    last: dict[tuple[str, ...], int] = {}
    taken_back: dict[tuple[str, str], int] = {}

    def is_later(n: int, than: int) -> bool:
        return (_when(found[n]), n) >= (_when(found[than]), than)

    for n, one in enumerate(found):
        if one.problem is not None:
            continue
        field = (one.finding_id, one.field)
        if one.field in PLACES and not one.value and (field not in taken_back or is_later(n, taken_back[field])):
            taken_back[field] = n
        key = _key(one)
        if key not in last or is_later(n, last[key]):
            last[key] = n

    def is_superseded(n: int, one: Correction) -> bool:
        back = taken_back.get((one.finding_id, one.field))
        return last[_key(one)] != n or (back is not None and back != n and is_later(back, n))

    return [replace(one, superseded=one.problem is None and is_superseded(n, one)) for n, one in enumerate(found)]


def _key(one: Correction) -> tuple[str, ...]:
    """What one line counts of."""
    value = (str(parse_value(one.field, one.value)),) if one.field in PLACES else ()
    return (one.finding_id, one.field, *value)


# --- the observed corrections ---


def observe_corrections(
    cohort_folder: Path,
    manifest_folder: Path,
    patients: Mapping[str, str],
    deidentifier: Deidentifier = NO_DEIDENTIFICATION,
    of_reviews: Sequence[Correction] = (),
) -> dict[int, str]:
    """Reads corrections.csv, writes what concerns each shard beside the manifest, and gives each shard's version.

    Args:
        cohort_folder: where corrections.csv is, if there is one.
        manifest_folder: below PETAR_HOME.
        patients: exam -> patient. A line of an exam that is not there goes where an exam of that name would.
        deidentifier: what people wrote goes on as it says. Where ids are hashed a line may name its exam by either
            name; where anything is hidden, nothing of a line that cannot be taken is kept but its finding and what is
            wrong.
        of_reviews: what reviewers corrected in the pages; of one field the latest `when` of both counts.

    Raises:
        CorrectionsError: see `read_corrections`.
    """
    shards: list[list[Correction]] = [[] for _ in range(N_SHARDS)]
    lines = [*of_reviews, *read_corrections(cohort_folder / FILE_NAME)]
    if deidentifier.settings.hash_ids:
        lines = [_renamed(one, patients, deidentifier.exam) for one in lines]
    if deidentifier.is_private:
        lines = [_without_words(one) if one.problem else one for one in lines]
    for one in _with_superseded(lines):
        patient = patients.get(one.exam_id, one.exam_id)
        problem = deidentifier.note(one.problem, patient) if one.problem else one.problem
        is_place = one.field in _TYPED_PLACES and not one.problem
        value = deidentifier.place(one.value) if is_place else deidentifier.note(one.value, patient)
        shards[shard_of(patient)].append(replace(one, value=value, problem=problem))
    versions = {}
    for shard, own in enumerate(shards):
        versions[shard] = corrections_version(own)
        path = _shard_path(manifest_folder, shard)
        if own:
            atomic.write_bytes(path, json.dumps([asdict(c) for c in own]).encode())
        else:
            path.unlink(missing_ok=True)
    return versions


def _renamed(one: Correction, patients: Mapping[str, str], pseudonym: Callable[[str], str]) -> Correction:
    """The correction of the exam under its name in the tables; one that has it stays."""
    if one.exam_id == NOT_NAMED or one.exam_id in patients:
        return one
    exam = pseudonym(one.exam_id)
    return replace(one, finding_id=f"{exam}:{_finding_part(one.finding_id)}")


def _finding_part(finding_id: str) -> str:
    """What follows the exam in a finding's id, where it may be one: no word of a person's."""
    part = finding_id.rpartition(":")[2]
    return part if _IS_FINDING.fullmatch(part) else hash_of(part)[:8]


_IS_FINDING = re.compile(r"[0-9a-f]{8}(?:\.\d{1,3})?")


def _without_words(one: Correction) -> Correction:
    """A line that cannot be taken without the words that stand in it."""
    try:
        when = datetime.fromisoformat(one.when).isoformat()
    except ValueError:
        when = ""
    field = one.field if one.field in FIELDS else "(unknown)"
    finding = one.finding_id if one.exam_id != NOT_NAMED else NOT_NAMED
    return replace(one, finding_id=finding, field=field, value="", when=when, problem=without_quotes(one.problem or ""))


def corrections_version(corrections: Iterable[Correction]) -> str:
    """Data version of the corrections of a shard; where a line stands in the file does not count."""
    return hash_of(sorted(hash_of(c) for c in corrections))


def read_observed(manifest_folder: Path, shard: int) -> list[Correction]:
    """The corrections that concern a shard, as last observed."""
    path = _shard_path(manifest_folder, shard)
    return [Correction(**row) for row in json.loads(path.read_text())] if path.exists() else []


def _shard_path(manifest_folder: Path, shard: int) -> Path:
    return manifest_folder / "corrections" / f"{shard_name(shard)}.json"


def correction_rows(
    corrections: Sequence[Correction], finding_ids: Iterable[str], patients: Mapping[str, str]
) -> list[dict[str, object]]:
    """Rows of the table `corrections`: every line that concerns a shard, with its status."""
    known = set(finding_ids)
    seen: dict[str, int] = {}
    rows: list[dict[str, object]] = []
    for one in corrections:
        content = hash_of(one.finding_id, one.field, one.value, one.who, one.when)[:12]
        seen[content] = seen.get(content, 0) + 1
        if one.problem is not None:
            status, message = "not applied", one.problem
        elif one.finding_id not in known:
            status = "unknown finding"
            message = (
                f"no finding {one.finding_id} is curated: its sentence has changed or its exam is not there; look up "
                "its id in the view findings"
            )
        elif one.superseded:
            status, message = "superseded", "a later correction of this field counts"
        else:
            status, message = "applied", None
        rows.append(
            {
                "exam_id": one.exam_id,
                "patient_id": patients.get(one.exam_id, one.exam_id),
                "row_key": hash_of(code_version(__name__), one, status),
                "correction_id": content if seen[content] == 1 else f"{content}#{seen[content]}",
                "finding_id": one.finding_id,
                "field": one.field,
                "value": one.value,
                "corrected_by": one.who,
                "corrected_at": one.when,
                "status": status,
                "message": message,
            }
        )
    return rows
