"""Fields of findings by a language model, each one held against the sentence; what the sentence contradicts keeps the
rules' value.
"""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from pipelines.reports.consensus import FAILED_NOTE, TextFinding
from pipelines.reports.llm.answer_format import object_problem
from pipelines.reports.llm.chat import Asker
from pipelines.reports.readers import Progress
from pipelines.reports.structure import Fields, find_anatomy, laterality
from pipelines.reports.vocabulary.lexicon import LATERALITIES
from pipelines.reports.vocabulary.text import clean, lower, squeeze
from pipelines.reports.vocabulary.vocabulary import Vocabulary, package_vocabulary
from pipelines.tables.outcomes import Outcome
from pipelines.tables.provenance import code_version
from pipelines.tables.report_fields import REGIONS

_COMPARISONS = ("new", "increased", "decreased", "stable", "none")
_KEYS = ("region", "organ", "subsite", "laterality", "suvmax", "slice", "comparison", "findings")
_NUMBER = re.compile(r"\d+(?:\.\d+)?")


@dataclass(frozen=True)
class Structured:
    """Fields of one finding with the fields of the model that were refused and why; `error` where the model gave none
    at all.
    """

    fields: Fields
    refused: tuple[str, ...]
    error: str | None


@dataclass(frozen=True)
class LlmStructurer(Asker):
    """Structures findings by asking a model; the default of every field is the rules'."""

    @property
    def version(self) -> str:
        """What is asked, of which model, and the version of the code that reads its answers."""
        return f"{self.asked}/{code_version(__name__)}{self.vocabulary.suffix}"

    def structure(self, findings: Sequence[TextFinding], progress: Progress | None = None) -> list[Structured]:
        """Fields of each finding, in order. Where the model fails, the finding keeps what it has."""
        answers = self.ask([f.sentence for f in findings], problem_of, progress)
        out = []
        for finding, answer in zip(findings, answers, strict=True):
            default = _fields_of(finding)
            if answer.text is None:
                out.append(Structured(default, (), f"exam {finding.exam_id}: {answer.error}"))
                continue
            fields, refused = merge(default, json.loads(answer.text), finding, self.vocabulary)
            out.append(Structured(fields, refused, None))
        return out

    def apply(self, findings: Sequence[TextFinding], progress: Progress | None = None) -> list[TextFinding]:
        """The findings, the accepted ones with the model's fields; refusals and failures stand in `explanation`."""
        accepted = [f for f in findings if f.outcome is Outcome.ACCEPTED]
        done = dict(zip((f.finding_id for f in accepted), self.structure(accepted, progress), strict=True))
        return [_with_fields(f, done[f.finding_id]) if f.finding_id in done else f for f in findings]


def _fields_of(finding: TextFinding) -> Fields:
    return Fields(finding.region, finding.organ, finding.subsite, finding.laterality, finding.comparison, finding.text)


def _with_fields(finding: TextFinding, structured: Structured) -> TextFinding:
    notes = [f"Refused of the model: {'; '.join(structured.refused)}."] if structured.refused else []
    notes += [f"{FAILED_NOTE}: {structured.error}."] if structured.error else []
    return replace(finding, **asdict(structured.fields), explanation=" ".join([finding.explanation, *notes]))


def problem_of(answer: str) -> str | None:
    """What keeps an answer from being fields, null where nothing does."""
    return object_problem(answer, _KEYS)


def merge(
    default: Fields, answer: Mapping[str, Any], finding: TextFinding, vocabulary: Vocabulary | None = None
) -> tuple[Fields, tuple[str, ...]]:
    """The model's fields where the sentence bears them, else the default's, and what was refused with the reason.

    A side, an organ or a part that the sentence does not hold, a number that is not the finding's, a change that the
    sentence speaks against: refused. An answer whose numbers are another lesion's is refused as a whole.
    """
    words = vocabulary or package_vocabulary()
    flat = lower(clean(finding.sentence))
    refused: list[str] = []

    def refuse(field: str, value: object, why: str) -> None:
        refused.append(f"{field} {value!r} ({why})")

    for field, known in (("suvmax", finding.suvmax_reported), ("slice", finding.slice)):
        value = answer[field]
        if (
            value is not None
            and known is not None
            and (not isinstance(value, int | float) or abs(value - known) > 0.005)
        ):
            refuse(field, value, f"the finding's is {known:g}")
    if refused:
        return default, tuple(refused)

    out = default
    places = find_anatomy(flat, words)
    region = answer["region"]
    if region in REGIONS and region != default.region:
        regions = {p.term.region for p in places if p.term.region}
        if regions and region not in regions:
            refuse("region", region, f"the words name {default.region}")
        elif default.region is not None and not regions:
            refuse("region", region, f"the heading says {default.region}")
        else:
            out = replace(out, region=region)
    elif region is not None and region not in REGIONS:
        refuse("region", region, "no known region")
    out = _with_words(out, answer, flat, {p.term.organ for p in places} | {p.term.subsite for p in places}, refuse)
    side = answer["laterality"]
    named = laterality(flat, None, words)
    if side is not None and side != default.laterality:
        if side not in LATERALITIES:
            refuse("laterality", side, "no side")
        elif default.laterality is not None or side != named:
            refuse("laterality", side, f"the sentence says {default.laterality or 'no side'}")
        else:
            out = replace(out, laterality=side)
    change = answer["comparison"]
    if change != default.comparison and change is not None:
        if change not in _COMPARISONS:
            refuse("comparison", change, "no known change")
        elif default.comparison != "none" or not words.cues["change_mention"].search(flat):
            refuse("comparison", change, f"the sentence says {default.comparison}")
        else:
            out = replace(out, comparison=change)
    return _with_text(out, answer, finding, flat, refuse), tuple(refused)


def _with_words(out: Fields, answer: Mapping[str, Any], flat: str, known: set[str | None], refuse: Any) -> Fields:
    for field in ("organ", "subsite"):
        value = answer[field]
        if not isinstance(value, str) or not value.strip() or value.strip().lower() == getattr(out, field):
            continue
        word = " ".join(value.lower().split())
        stems = [w[:5] for w in re.findall(r"[a-z0-9]+", word) if len(w) > 2 or any(c.isdigit() for c in w)]
        if word in {str(k).lower() for k in known if k} or (stems and all(s in flat for s in stems)):
            out = replace(out, **{field: word if field == "organ" else " ".join(value.split())})
        else:
            refuse(field, value, "not in the sentence")
    return out


def _with_text(out: Fields, answer: Mapping[str, Any], finding: TextFinding, flat: str, refuse: Any) -> Fields:
    text = answer["findings"]
    if not isinstance(text, str) or not text.strip():
        return out
    short = squeeze(text)
    foreign = sorted(set(_NUMBER.findall(short)) - set(_NUMBER.findall(flat)))
    if foreign:
        refuse("findings", short, f"{', '.join(foreign)} not in the sentence")
        return out
    for side in ("left", "right"):
        if re.search(rf"\b{side}\b", short.lower()) and not re.search(rf"\b{side}\b", lower(clean(finding.sentence))):
            refuse("findings", short, f"the sentence says nothing of {side}")
            return out
    return replace(out, text=short)
