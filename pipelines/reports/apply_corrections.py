"""A physician's corrections applied to the findings of a report."""

from collections.abc import Iterable
from dataclasses import dataclass, replace

from pipelines.cohort.corrections import FIELDS, Correction, parse_value
from pipelines.reports.consensus import TextFinding
from pipelines.tables.outcomes import Outcome

_UNKNOWN_VALUES = (
    Outcome.READERS_DISAGREE,
    Outcome.NO_SUVMAX,
    Outcome.NO_LESION,
    Outcome.NOTHING_TO_LOCATE_BY,
    Outcome.NOT_GROUNDED,
    Outcome.READER_FAILED,
    Outcome.SUV_TOO_LOW,
)
"""Outcomes that follow from an unknown or too low value: a corrected value decides again."""


@dataclass(frozen=True)
class Corrected:
    """A finding after its corrections: what they changed in words, and who accepted it where somebody did."""

    finding: TextFinding
    corrected: str | None = None
    accepted_by: str | None = None


def apply_corrections(
    finding: TextFinding, corrections: Iterable[Correction], min_suvmax: float | None = None
) -> Corrected:
    """A finding with the corrections that count for it.

    A corrected slice or SUVmax decides anew where the finding was rejected for want of it, or for a low one; a
    corrected outcome stands above that. A finding without SUVmax, or with neither slice nor place, can not be accepted:
    it stays as it is, and the words say so.
    """
    own = [c for c in corrections if c.finding_id == finding.finding_id and c.problem is None and not c.superseded]
    if not own:
        return Corrected(finding)
    by_field = {c.field: c for c in own}
    values = {c.field: parse_value(c.field, c.value) for c in own if c.field != "outcome"}
    made = replace(finding, **values)
    known = made.suvmax_reported is not None and bool(made.slice is not None or made.organ or made.region)
    if {"slice", "suvmax_reported"} & set(values) and finding.outcome in (*_UNKNOWN_VALUES, Outcome.ACCEPTED) and known:
        low = min_suvmax is not None and made.suvmax_reported is not None and made.suvmax_reported < min_suvmax
        made = replace(made, outcome=Outcome.SUV_TOO_LOW if low else Outcome.ACCEPTED)
    accepted_by = None
    notes = []
    if (verdict := by_field.get("outcome")) is not None:
        wanted = parse_value("outcome", verdict.value)
        if wanted is Outcome.ACCEPTED and not known:
            del by_field["outcome"]
            notes.append(f"outcome: accept of {verdict.who} needs a SUVmax, and a slice or a place, correct these too")
        else:
            made = replace(made, outcome=wanted)
            accepted_by = verdict.who if wanted is Outcome.ACCEPTED else None
    for field in FIELDS:
        before, now = getattr(finding, field), getattr(made, field)
        if before != now:
            by = by_field.get(field) or by_field.get("suvmax_reported") or by_field["slice"]
            notes.append(f"{field}: {_words(before)} -> {_words(now)} ({by.who}, {by.when})")
        elif field in by_field:
            by = by_field[field]
            notes.append(f"{field}: {_words(now)} confirmed ({by.who}, {by.when})")
    corrected = "; ".join(notes)
    if made.outcome is not finding.outcome:
        made = replace(made, explanation=f"Corrected. {finding.explanation}".strip())
    return Corrected(made, corrected, accepted_by)


def _words(value: object) -> str:
    return "unknown" if value is None or value == "" else str(value)
