"""The draft report of one exam: its lesions with their measures, what became of them, and sentences about each.

Sentences are made of measured fields and nothing else. Of several wordings of a place that one is taken which the
project's own reader reads as the same organ, part and side, so that a draft can be read back.
"""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cache
from typing import Any

from pipelines.reports.structure import structure
from pipelines.reports.vocabulary.vocabulary import package_vocabulary
from pipelines.tables.pair_reasons import LinkState
from pipelines.tables.report_fields import REGIONS

DRAFT = "Draft of a research tool, not for clinical use: every line is to be checked by a physician."
FROM_MEASURES = "Sentences are made of measured fields, by no trained model."
OTHER_REGION = "other"
_IS_NUMBERED = re.compile(r"(?:[a-z]+ )?[A-Z]*\d+ of the ")
"""A numbered part has no article: "segment 4 of the liver", "S1 of the sacrum"."""
MEASURES = ("suvmax", "suvmean", "suvpeak", "mtv_ml", "tlg", "diameter_mm")


@dataclass(frozen=True)
class ReportedExam:
    """The exam that a draft is about; `prior_exam_id` and `days` are null where `no_comparison` says why."""

    exam_id: str
    patient_id: str
    study_date: str | None
    tracer: str | None
    n_slices: int
    prior_exam_id: str | None = None
    days: int | None = None
    no_comparison: str | None = None


@dataclass(frozen=True)
class ReportLesion:
    """A lesion (or physiologic uptake) of a draft: fields of its finding, measures of its mask, its course."""

    finding_id: str
    tracked_as: str
    region: str
    organ: str | None
    subsite: str | None
    laterality: str | None
    slice: int
    suvmax: float
    suvmean: float | None
    suvpeak: float | None
    mtv_ml: float
    tlg: float | None
    diameter_mm: float | None
    is_physiologic: bool
    is_counted: bool
    """Whether its volume is in the burden: physiologic uptake is not, nor what shares voxels with one that is."""
    state: str | None
    prior_suvmax: float | None
    suvmax_change_percent: float | None
    mtv_ml_change_percent: float | None
    sentence: str
    model: str | None = None
    model_text: str | None = None


@dataclass(frozen=True)
class GoneLesion:
    """A lesion of the prior exam that no finding of the exam is linked with, and why."""

    prior_finding_id: str
    organ: str | None
    laterality: str | None
    prior_suvmax: float | None
    state: str
    explanation: str | None


@dataclass(frozen=True)
class Burden:
    """All lesions of an exam together, without physiologic uptake; null where there is none to measure."""

    n_lesions: int
    mtv_ml: float
    tlg: float | None
    suvmax: float | None


@dataclass(frozen=True)
class ExamReport:
    """A draft as it is stored; `text` is what its sentences say, by region."""

    exam: ReportedExam
    lesions: tuple[ReportLesion, ...]
    gone: tuple[GoneLesion, ...]
    burden: Burden
    text: str
    text_source: str = FROM_MEASURES
    status: str = DRAFT

    def to_json(self) -> dict[str, Any]:
        """The draft as plain values, its lesions by region."""
        return {
            "schema": "petar-exam-report/1",
            "status": self.status,
            "exam": asdict(self.exam),
            "burden": asdict(self.burden),
            "regions": [
                {"region": region, "lesions": [asdict(lesion) for lesion in own]} for region, own in self.by_region()
            ],
            "gone": [asdict(lesion) for lesion in self.gone],
            "text": self.text,
            "text_source": self.text_source,
        }

    def by_region(self) -> list[tuple[str, list[ReportLesion]]]:
        """The lesions of each region that has any, from the head down."""
        return _by_region(self.lesions)


def exam_report(
    exam: ReportedExam,
    lesions: Iterable[Mapping[str, Any]],
    links: Iterable[Mapping[str, Any]] = (),
    prior: Mapping[str, Mapping[str, Any]] | None = None,
    texts: Mapping[str, Mapping[str, Any]] | None = None,
) -> ExamReport:
    """The draft of an exam.

    Args:
        exam: what it is about.
        lesions: rows of the view `lesions` of the exam; findings with one peak are one lesion.
        links: rows of `lesion_links` of the exam.
        prior: prior finding -> its row of the view `lesions`.
        texts: finding -> its row of `predictions`, of the model whose texts are shown.
    """
    links, prior, texts = list(links), prior or {}, texts or {}
    of_finding = {row["finding_id"]: row for row in links if row["finding_id"]}
    made, peaks, counted = [], set(), set[str]()
    for row in sorted(lesions, key=lambda row: (-row["peak_k"], row["finding_id"])):
        peak = (row["peak_i"], row["peak_j"], row["peak_k"])
        if peak in peaks:
            continue
        peaks.add(peak)
        shares = set((row["shares_with"] or "").split(", ")) & counted
        is_counted = not row["is_physiologic"] and not shares
        if is_counted:
            counted.add(row["finding_id"])
        link = of_finding.get(row["finding_id"])
        made.append(_lesion(exam, row, is_counted, link, prior, texts.get(row["finding_id"])))
    gone = tuple(_gone(row, prior) for row in links if row["finding_id"] is None)
    return ExamReport(exam, tuple(made), gone, _burden(made), report_text(made))


def report_text(lesions: Sequence[ReportLesion]) -> str:
    """The sentences of the lesions under a heading a region, a line each."""
    return "\n".join(
        f"{region.upper()}: {' '.join(lesion.sentence for lesion in own)}" for region, own in _by_region(lesions)
    )


def _lesion(
    exam: ReportedExam,
    row: Mapping[str, Any],
    is_counted: bool,
    link: Mapping[str, Any] | None,
    prior: Mapping[str, Mapping[str, Any]],
    text: Mapping[str, Any] | None,
) -> ReportLesion:
    before = prior.get(link["prior_finding_id"] or "") if link else None
    fields: dict[str, Any] = {name: row[name] for name in ("organ", "subsite", "laterality", *MEASURES)}
    fields |= {
        "finding_id": row["finding_id"],
        "tracked_as": link["tracked_as"] if link else row["finding_id"],
        "region": row["region"] or OTHER_REGION,
        "slice": row["slice"] if row["slice"] is not None else exam.n_slices - row["peak_k"],
        "is_physiologic": bool(row["is_physiologic"]),
        "is_counted": is_counted,
        "state": link["state"] if link else None,
        "prior_suvmax": before["suvmax"] if before else None,
        "suvmax_change_percent": link["suvmax_change_percent"] if link else None,
        "mtv_ml_change_percent": link["mtv_ml_change_percent"] if link else None,
        "model": text["model"] if text else None,
        "model_text": (text["text_measured"] or None) if text else None,
    }
    return ReportLesion(**fields, sentence=compose_sentence(fields))


def compose_sentence(lesion: Mapping[str, Any]) -> str:
    """One sentence about a lesion: what it is, where, SUVmax and slice, and what it was before."""
    what = "Physiologic uptake" if lesion["is_physiologic"] else "Hypermetabolic lesion"
    where = place_words(lesion["organ"], lesion["subsite"], lesion["laterality"])
    article = "" if _IS_NUMBERED.match(where) else "the "
    place = f" in {article}{where}" if where else ""
    course = ""
    if lesion["state"] == LinkState.NEW:
        course = ", new since the prior exam"
    elif lesion["prior_suvmax"] is not None:
        course = f", previously {lesion['prior_suvmax']:.1f}"
    return f"{what}{place} with SUVmax {lesion['suvmax']:.1f} (slice {lesion['slice']}){course}."


@cache
def place_words(organ: str | None, subsite: str | None, laterality: str | None) -> str:
    """Words for a place that the project's own reader reads as this organ, part and side, as far as there are such."""
    side = laterality if laterality in ("left", "right", "bilateral") else ""
    own_side = "" if side and side in f" {subsite} ".split() else side
    options = [" ".join(option.split()) for option in _wordings(organ or "", subsite or "", own_side)]

    def agreement(option: str) -> tuple[int, bool, bool]:
        read = structure(f"Hypermetabolic lesion in the {option} with SUVmax 5.0 (slice 50).")
        said = read.laterality or ""
        same_side = said == side or (not side and (read.laterality == laterality or said in (subsite or "").split()))
        return (read.organ == organ) + same_side, (subsite or "") in option, read.subsite == subsite

    return max(options, key=agreement, default=side)


def _wordings(organ: str, subsite: str, side: str) -> Iterator[str]:
    """Wordings of a place, the most usual first."""
    if not subsite:
        yield from (f"{side} {organ}", organ) if organ else ()
        return
    noun = "region" if organ in _LIMBS else organ
    before_noun, alone = f"{side} {subsite} {noun}", f"{side} {subsite}"
    part = f"{subsite} of the {side} {organ}"
    if organ and _needs_noun(organ, subsite):
        yield from (before_noun, part)
    elif organ and subsite[-1].isdigit():
        yield from (part, before_noun)
    yield alone
    if organ:
        yield part
        yield from (f"{side} {phrase}" for phrase in _own_phrases(organ, subsite))
        yield from (f"{side} {organ} ({subsite})", f"{side} {organ}", organ)


_LIMBS = ("arm", "leg")
_NAMED_WITH_ORGAN = ("lymph node", "muscle")
"""Organs whose parts are stations or names of one kind of thing: "para-aortic lymph node", "psoas muscle"."""
_ADJECTIVE = re.compile(r"(?:al|ar|ary|ic|iac)$")
_NOUNS = ("metacarpal", "metatarsal", "navicular")
"""Bones whose names end like adjectives."""


def _needs_noun(organ: str, subsite: str) -> bool:
    """Whether the name of a part cannot stand without that of its organ."""
    is_adjective = _ADJECTIVE.search(subsite) is not None and subsite.split()[-1] not in _NOUNS
    return is_adjective or organ in _NAMED_WITH_ORGAN or (organ == "vertebra" and subsite[-1].isdigit())


@cache
def _own_phrases(organ: str, subsite: str) -> tuple[str, ...]:
    """The phrases of the lexicon that mean a part of an organ. Of several that hold the part's name ("third ventricle")
    each may mean less than it: of these only that which names the organ too.
    """
    terms = package_vocabulary().lexicon.terms.items()
    found = [phrase for phrase, term in terms if (term.organ, term.subsite) == (organ, subsite)]
    naming = [phrase for phrase in found if subsite in phrase]
    if len(naming) > 1:
        naming = [phrase for phrase in naming if organ in phrase]
    return (*naming, *(phrase for phrase in found if subsite not in phrase))


def _gone(link: Mapping[str, Any], prior: Mapping[str, Mapping[str, Any]]) -> GoneLesion:
    before: Mapping[str, Any] = prior.get(link["prior_finding_id"]) or {}
    return GoneLesion(
        link["prior_finding_id"],
        before.get("organ"),
        before.get("laterality"),
        before.get("suvmax"),
        link["state"],
        link["explanation"],
    )


def _burden(lesions: Sequence[ReportLesion]) -> Burden:
    tumour = [lesion for lesion in lesions if not lesion.is_physiologic]
    counted = [lesion for lesion in lesions if lesion.is_counted]
    tlg = [lesion.tlg for lesion in counted if lesion.tlg is not None]
    return Burden(
        len(tumour),
        sum(lesion.mtv_ml for lesion in counted),
        sum(tlg) if len(tlg) == len(counted) else None,
        max((lesion.suvmax for lesion in tumour), default=None),
    )


def _by_region(lesions: Iterable[ReportLesion]) -> list[tuple[str, list[ReportLesion]]]:
    found: dict[str, list[ReportLesion]] = {region: [] for region in (*REGIONS, OTHER_REGION)}
    for lesion in lesions:
        found[lesion.region].append(lesion)
    return [(region, own) for region, own in found.items() if own]
