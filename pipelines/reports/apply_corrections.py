"""A physician's corrections applied to the findings of a report."""

from collections.abc import Iterable
from dataclasses import dataclass, replace

from pipelines.cohort.corrections import ADDED, COLUMN_OF, FIELDS, PLACES, Correction, parse_value
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
    values = {
        COLUMN_OF.get(c.field, c.field): parse_value(c.field, c.value)
        for c in own
        if c.field not in ("outcome", ADDED, *PLACES)
    }
    for field in PLACES:
        places = [parse_value(field, c.value) for c in own if c.field == field and c.value]
        values |= {COLUMN_OF[field]: "; ".join(places)} if places else {}
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
    for field in (name for name in FIELDS if name != ADDED):
        before, now = (getattr(one, COLUMN_OF.get(field, field)) for one in (finding, made))
        if before != now:
            by = by_field.get(field) or by_field.get("suvmax_reported") or by_field["slice"]
            notes.append(f"{field}: {_words(before)} -> {_words(now)} ({by.who}, {by.when})")
        elif field in by_field:
            by = by_field[field]
            notes.append(f"{field}: {_words(now)} confirmed ({by.who}, {by.when})")
    corrected = "; ".join(notes) or None
    if made.outcome is not finding.outcome:
        made = replace(made, explanation=f"Corrected. {finding.explanation}".strip())
    return Corrected(made, corrected, accepted_by)


def _words(value: object) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return "unknown" if value is None or value == "" else str(value)


def marked_findings(corrections: Iterable[Correction]) -> list[TextFinding]:
    """Findings that no report has: lesions that a person marked at a place, whatever else is corrected of them."""
    found = []
    for one in corrections:
        if one.field != ADDED or one.problem is not None or one.superseded or not one.value:
            continue
        place = parse_value(one.field, one.value)
        found.append(
            TextFinding(
                finding_id=one.finding_id,
                sentence_id=one.finding_id,
                exam_id=one.exam_id,
                sentence=f"Lesion marked in review at {place} mm.",
                start=0,
                end=0,
                slice=None,
                suvmax_reported=None,
                outcome=Outcome.ACCEPTED,
                explanation=f"marked by {one.who}, {one.when}",
                votes=0,
                readers="",
                region=None,
                organ=None,
                subsite=None,
                laterality=None,
                comparison="none",
                text="",
                candidate=place,
            )
        )
    return found
