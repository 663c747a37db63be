"""Corrections that reviewers made in the pages: lines of the files that they saved, as lines of corrections."""

from collections.abc import Mapping
from pathlib import Path

from pipelines.cohort.corrections import Correction, with_problem
from pipelines.cohort.table_files import TableFileError, is_blank, read_table_file, without_lone_surrogates
from pipelines.tables.answer_kinds import ANSWER_KINDS, Subject, subject_of

_KINDS = {kind.name: kind for kind in ANSWER_KINDS}
_YES = "yes"


def review_corrections(folder: Path) -> list[Correction]:
    """The corrections in a folder's files of answers, file by file; a file that cannot be read gives none, and is named
    where the answers are read.

    A judgement that is a correction too ("physiologic") counts while it is its reviewer's latest of that finding.
    """
    found: list[Correction] = []
    latest: dict[tuple[str, str], tuple[str, bool]] = {}
    for path in sorted(folder.glob("*.csv")):
        for line in _lines(path):
            kind = _KINDS.get(" ".join(line.get("answer", "").lower().split()))
            if kind is None:
                continue
            finding, who, when = line.get("finding_id", ""), line.get("reviewer", ""), line.get("answered_at", "")
            if kind.is_judgement and subject_of(finding) is Subject.PROPOSAL:
                continue
            if kind.is_judgement:
                key = finding, who
                if key not in latest or when >= latest[key][0]:
                    latest[key] = when, kind.field is not None
            elif kind.field is not None:
                found.append(with_problem(Correction(finding, kind.field, line.get("value", ""), who, when), path.name))
    for (finding, who), (when, is_correction) in latest.items():
        if is_correction:
            found.append(with_problem(Correction(finding, "physiologic", _YES, who, when), "reviews"))
    return found


def _lines(path: Path) -> list[Mapping[str, str]]:
    try:
        table = read_table_file(path)
        # Rows are read one after the other: a file that is cut short is known at its end.
        rows = [row.cells for row in table.rows if row.problem is None and not is_blank(row.cells)]
    except (TableFileError, OSError):
        return []
    names = [name.strip().lower() for name in table.header]
    return [dict(zip(names, (without_lone_surrogates(cell).strip() for cell in cells))) for cells in rows]
