"""From what the readers say to findings: mentions aligned, voted on field by field, filtered, each with one outcome.

A mention counts where the readers that give it hold more than half of the weight of all readers, those that failed
included, so that a reader without a server never lets fewer votes decide. Readers that say "no lesion", "prior" or
"reference" vote against it.
"""

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

from pipelines.reports.alignment import Said, aligned, rounded
from pipelines.reports.mentions import Mention, text_evidence
from pipelines.reports.readers import Reading
from pipelines.reports.sentences import SUV_AND_SLICE, SUV_ONLY, Sentence
from pipelines.reports.structure import names_anatomy, without_references
from pipelines.reports.vocabulary.vocabulary import Vocabulary, package_vocabulary
from pipelines.settings import ConsensusSettings
from pipelines.tables.outcomes import Outcome

ABSENT = "no lesion"
"""Vote of a reader that read the passage and gives no such mention."""
_OUTCOMES = {
    "template": (Outcome.TEMPLATE, "Not a finding: it reports the uptake of a reference region"),
    "reference": (Outcome.TEMPLATE, "Not a finding: it is a reference region's"),
    "negated": (Outcome.NO_LESION, "The sentence says that there is no lesion, or none any more"),
    "prior": (Outcome.NOT_CURRENT, "The SUV belongs to a prior exam, not to this one"),
    "outside": (Outcome.NOT_CURRENT, "The SUV belongs to an exam made elsewhere"),
    ABSENT: (Outcome.NO_LESION, "The readers that decide give no lesion there"),
}


@dataclass(frozen=True)
class TextFinding:
    """A finding of a report, or a candidate sentence that gave none. `explanation` says why in words.

    `start` and `end` are its place in the report. `slice` and `suvmax_reported` are the accepted values, or the ones it
    was rejected with, as far as known. `votes` counts the readers that give the values, whatever their weight, and
    `readers` names them, sorted and parted by commas; `agreement` is their share of the readers that did not fail, of a
    mention without agreed values the share of those that say the same of it, null where one reader alone read it.
    `text_evidence` says which of the two values the text gives.
    """

    finding_id: str
    sentence_id: str
    exam_id: str
    sentence: str
    start: int
    end: int
    slice: int | None
    suvmax_reported: float | None
    outcome: Outcome
    explanation: str
    votes: int
    readers: str
    region: str | None
    organ: str | None
    subsite: str | None
    laterality: str | None
    comparison: str
    text: str
    agreement: float | None = None
    text_evidence: str = "neither"
    is_physiologic: bool = False
    size_cm: float | None = None
    n_lesions: int | None = None
    prior_suvmax: float | None = None
    certainty: str | None = None
    candidate: str | None = None
    """The peak that a reviewer picked: number of a candidate, or its position (x y z, RAS mm)."""
    joined_at: str | None = None
    """Places that a reviewer joined with it (x y z, RAS mm, parted by ;)."""
    cut_at: str | None = None
    """Places that a reviewer cut off it."""


def decide_exam(
    sentences: Sequence[Sentence],
    readings: Iterable[Reading],
    settings: ConsensusSettings | None = None,
    vocabulary: Vocabulary | None = None,
) -> list[TextFinding]:
    """Findings of all sentences of one exam, in reading order; a lesion that is said twice is accepted once.

    Every sentence with an SUV and a slice ends with an outcome, also where nobody read it.

    Args:
        readings: of the exam's passages, in any order.
        vocabulary: by default the package's.

    Raises:
        ValueError: a reading is of sentences that are not there, or a reader read a passage twice.
    """
    words = vocabulary or package_vocabulary()
    known = {s.sentence_id: n for n, s in enumerate(sentences)}
    by_passage: dict[tuple[str, ...], list[Reading]] = defaultdict(list)
    for reading in readings:
        _check(reading, known, by_passage[reading.sentence_ids])
        by_passage[reading.sentence_ids].append(reading)
    decided = [_decided(own, sentences, known, settings or ConsensusSettings(), words) for own in by_passage.values()]
    found = sorted((f for own in decided for f in own), key=lambda f: (known[f.sentence_id], f.start))
    covered = {f.sentence_id for f in found} | {i for ids in by_passage for i in ids}
    found += [_unread(s, ()) for s in sentences if s.candidate_reason == SUV_AND_SLICE and s.sentence_id not in covered]
    found.sort(key=lambda f: known[f.sentence_id])
    return _without_duplicates(_named(found))


def _check(reading: Reading, known: Mapping[str, int], others: Sequence[Reading]) -> None:
    strange = [i for i in reading.sentence_ids if i not in known]
    if strange:
        raise ValueError(
            f"expected readings of the exam's sentences, got one of {strange[0]} by reader {reading.reader!r}: pass"
            " each exam its own readings"
        )
    if any(other.reader == reading.reader for other in others):
        raise ValueError(
            f"expected one reading a reader of passage {reading.passage_id}, got two by {reading.reader!r}: give each"
            " reader its own name"
        )


# --- votes -----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Vote:
    """The readers of a passage with their weights, and what each says of one mention."""

    weights: Mapping[str, float]
    failed: frozenset[str]
    said: Mapping[str, Mention]

    @property
    def total(self) -> float:
        return sum(self.weights.values())

    def weight(self, readers: Iterable[str]) -> float:
        return sum(self.weights[r] for r in readers)

    def is_majority(self, readers: Iterable[str]) -> bool:
        return 2 * self.weight(readers) > self.total + 1e-9

    @cached_property
    def supporters(self) -> list[str]:
        """The readers that give a finding."""
        return [r for r, m in self.said.items() if m.is_finding]

    def position(self, reader: str) -> str:
        """What a reader that did not fail says that the mention is."""
        mention = self.said.get(reader)
        if mention is None:
            return ABSENT
        if mention.exam != "current":
            return mention.exam
        return "finding" if mention.is_finding else mention.role

    def positions(self) -> dict[str, float]:
        """Weight of each position, the heaviest first."""
        totals: Counter[str] = Counter()
        for reader in self.weights:
            if reader not in self.failed:
                totals[self.position(reader)] += self.weights[reader]  # type: ignore[assignment]  # weights are real
        return dict(totals.most_common())

    def winner(self, value: Callable[[Mention], Any], *, is_null_a_vote: bool) -> tuple[Any, list[str]]:
        """The value that the readers of the finding give with the most weight, and who gives it; of values with equal
        weight that of the reader with the largest weight."""
        readers: dict[Any, list[str]] = {}
        for reader in self.supporters:
            given = value(self.said[reader])
            if given is not None or is_null_a_vote:
                readers.setdefault(given, []).append(reader)
        if len(readers) <= 1:
            return next(iter(readers.items()), (None, []))
        best = max(readers, key=lambda v: (self.weight(readers[v]), max(self.weights[r] for r in readers[v])))
        return best, readers[best]


def _decided(
    readings: Sequence[Reading],
    sentences: Sequence[Sentence],
    known: Mapping[str, int],
    settings: ConsensusSettings,
    words: Vocabulary,
) -> list[TextFinding]:
    """Findings of one passage."""
    own = [sentences[known[i]] for i in readings[0].sentence_ids]
    words = words.of(own[0].language)
    if all(r.abstains for r in readings):
        why = f"No reader knows the language of the report ({own[0].language}): ask a language model."
        return [_bare(s, Outcome.OTHER_LANGUAGE, why) for s in own if s.candidate_reason in (SUV_AND_SLICE, SUV_ONLY)]
    readings = [r for r in readings if not r.abstains]
    failed = frozenset(r.reader for r in readings if r.error is not None)
    if len(failed) == len(readings):
        return [_unread(s, readings) for s in own if s.candidate_reason == SUV_AND_SLICE]
    weights = {r.reader: settings.weights.get(r.reader, 1.0) for r in readings}
    # The heaviest reader first, so that groups begin with what it says.
    ordered = sorted((r for r in readings if r.error is None), key=lambda r: (-weights[r.reader], r.reader))
    groups = aligned([(r.reader, [m for m in r.mentions if m.refused is None]) for r in ordered])
    out: list[TextFinding] = []
    others: list[tuple[list[Said], TextFinding]] = []
    for group in groups:
        vote = _Vote(weights, failed, {s.reader: s.mention for s in group})
        finding = _finding(vote, sentences, known, words)
        finding = _filtered(finding, sentences[known[finding.sentence_id]], settings, words)
        if vote.supporters:
            out.append(finding)
        else:
            others.append((group, finding))
    for _, finding in others:
        # A reference, or the prior value of a lesion, in a sentence that has a finding is no row of its own.
        if not any(finding.sentence_id == f.sentence_id for f in out):
            out.append(finding)
    cited = {i for group in groups for s in group for i in s.mention.sentence_ids}
    leading = {f.sentence_id for f in out}
    for s in own:
        if s.candidate_reason == SUV_AND_SLICE and s.sentence_id not in leading:
            out.append(_part_of_another(s) if s.sentence_id in cited else _silent(s, readings))
    return out


def _leading(vote: _Vote) -> Mention:
    """What the heaviest reader that gives the finding says, and gives a part of the sentence where one does."""
    readers = vote.supporters or list(vote.said)
    return vote.said[max(readers, key=lambda r: (vote.weights[r], vote.said[r].part is not None))]


def _finding(vote: _Vote, sentences: Sequence[Sentence], known: Mapping[str, int], words: Vocabulary) -> TextFinding:
    leading = _leading(vote)
    outcome, explanation, slice_, suvmax, voters = _verdict(vote, leading)
    sentence = sentences[known[leading.sentence_ids[0]]]
    start, end = leading.part or (0, len(sentence.sentence))
    text = sentence.sentence[start:end]
    place = vote.winner(lambda m: (m.region, m.organ, m.subsite) if m.organ or m.region else None, is_null_a_vote=False)
    region, organ, subsite = place[0] or (leading.region, leading.organ, leading.subsite)

    def field(name: str, *, is_null_a_vote: bool = False) -> Any:
        if len(vote.supporters) <= 1:
            return getattr(leading, name)
        return vote.winner(lambda m: getattr(m, name), is_null_a_vote=is_null_a_vote)[0]

    valid = len(vote.weights) - len(vote.failed)
    return TextFinding(
        finding_id=sentence.sentence_id,
        sentence_id=sentence.sentence_id,
        exam_id=sentence.exam_id,
        sentence=text,
        start=sentence.start + start,
        end=sentence.start + end,
        slice=slice_,
        suvmax_reported=suvmax,
        outcome=outcome,
        explanation=explanation,
        votes=len(voters),
        readers=",".join(sorted(voters)),
        agreement=len(voters) / valid if voters else _agreed(vote),
        region=region,
        organ=organ,
        subsite=subsite,
        laterality=field("laterality", is_null_a_vote=True),
        comparison=field("comparison"),
        text=without_references(text, words),
        text_evidence=text_evidence(slice_, suvmax),
        is_physiologic=field("role") == "physiologic",
        size_cm=field("size_cm"),
        n_lesions=field("count"),
        prior_suvmax=field("prior_suv"),
        certainty=field("certainty"),
    )


def _agreed(vote: _Vote) -> float | None:
    """Share of several readers that say the same of a mention whose values were not agreed on."""
    said = Counter(vote.position(r) for r in vote.weights if r not in vote.failed)
    return max(said.values()) / said.total() if said.total() > 1 else None


def _verdict(vote: _Vote, leading: Mention) -> tuple[Outcome, str, int | None, float | None, list[str]]:
    """Outcome, its explanation, the values and the readers that decide them."""
    number, by_slice = vote.winner(lambda m: m.axial_slice, is_null_a_vote=True)
    suv, by_suv = vote.winner(lambda m: rounded(m.suvmax), is_null_a_vote=True)
    shown = (leading.axial_slice, leading.suvmax)
    if not vote.is_majority(vote.supporters):
        return (*_no_majority(vote, leading), *shown, [])
    several = [r for r in vote.supporters if vote.said[r].count > 1]
    if 2 * vote.weight(several) >= vote.weight(vote.supporters):
        why = leading.note or "the sentence names several lesions and one pair of values"
        return Outcome.SEVERAL_LESIONS, f"More than one lesion: {why}.", *shown, []
    # Votes count per value, but a pair that no reader gives as a pair may be of two lesions.
    is_said = any((vote.said[r].axial_slice, rounded(vote.said[r].suvmax)) == (number, suv) for r in vote.supporters)
    if not (is_said and vote.is_majority(by_slice) and vote.is_majority(by_suv)):
        return Outcome.READERS_DISAGREE, f"No value has more than half of the votes: {_said(vote)}.", *shown, []
    voters = [r for r in by_slice if r in by_suv]
    values = (number, suv)
    if values[1] is None:
        outcome = Outcome.NO_SUVMAX if leading.note else Outcome.NOTHING_TO_LOCATE_BY
        why = leading.note or f"the text gives {text_evidence(*values).replace('neither', 'neither slice nor SUV')}"
        return outcome, f"No SUVmax of the finding: {why}.", *values, voters
    return Outcome.ACCEPTED, _agreement(vote, voters, values), *values, voters


def _no_majority(vote: _Vote, leading: Mention) -> tuple[Outcome, str]:
    """Why a mention that too few readers give as a finding is none."""
    positions = vote.positions()
    first = next(iter(positions))
    is_heaviest = first != "finding" and positions[first] > positions.get("finding", 0.0)
    if not is_heaviest:
        # A tie, or a finding that only lacks the votes of readers that failed.
        return Outcome.READERS_DISAGREE, f"No reading has more than half of the votes: {_said(vote)}."
    outcome, why = _OUTCOMES[first]
    if leading.note and len(vote.weights) == 1:
        why = f"{why.split(':')[0]}: {leading.note}" if ":" in why else f"{why} ({leading.note})"
    elif len(vote.weights) > 1:
        why = f"{why}: {_said(vote)}"
    return outcome, f"{why}."


def _said(vote: _Vote) -> str:
    """What each reader says, in words."""
    return "; ".join(f"{r} {_words(vote, r)}" for r in sorted(vote.weights))


def _words(vote: _Vote, reader: str) -> str:
    if reader in vote.failed:
        return "failed"
    position = vote.position(reader)
    if position == ABSENT:
        return "read no lesion there"
    mention = vote.said[reader]
    suv = "no SUVmax" if mention.suvmax is None else f"SUVmax {mention.suvmax:g}"
    number = "no slice" if mention.axial_slice is None else f"slice {mention.axial_slice}"
    return f"read {suv} on {number}" + ("" if position == "finding" else f" ({position})")


def _agreement(vote: _Vote, voters: Sequence[str], values: tuple[int | None, float | None]) -> str:
    what = "Slice and SUVmax stand" if values[0] is not None else "SUVmax stands"
    text = f"{what} in the sentence, read by {', '.join(sorted(voters))}"
    if len(vote.weights) > 1:
        others = sorted(set(vote.weights) - set(voters) - vote.failed)
        text += f" ({vote.weight(voters):g} of {vote.total:g} votes"
        text += f"; otherwise: {'; '.join(f'{r} {_words(vote, r)}' for r in others)}" if others else ""
        text += f"; failed: {', '.join(sorted(vote.failed))}" if vote.failed else ""
        text += ")"
    return text + "."


def _unread(sentence: Sentence, readings: Sequence[Reading]) -> TextFinding:
    """A candidate sentence that no reader has read, or that all failed on."""
    why = (
        "Every reader failed: " + "; ".join(f"{r.reader}: {r.error}" for r in readings)
        if readings
        else "No reader has read the sentence yet"
    )
    return _bare(sentence, Outcome.READER_FAILED, f"{why}. Run the readings again.")


def _silent(sentence: Sentence, readings: Sequence[Reading]) -> TextFinding:
    """A candidate sentence of which no reader gives a mention that counts."""
    refused = [
        f"{r.reader}: {m.refused}"
        for r in readings
        for m in r.mentions
        if m.refused is not None and sentence.sentence_id in m.sentence_ids
    ]
    if refused:
        return _bare(sentence, Outcome.NOT_GROUNDED, f"What was read does not stand there ({'; '.join(refused)}).")
    names = ", ".join(r.reader for r in readings)
    return _bare(sentence, Outcome.NO_LESION, f"No reader gives a lesion there: {names}.")


def _part_of_another(sentence: Sentence) -> TextFinding:
    """A candidate sentence that the readers cite beside the one that holds a finding's SUV."""
    return _bare(sentence, Outcome.DUPLICATE, "It goes on about the finding of a sentence beside it.")


def _bare(sentence: Sentence, outcome: Outcome, explanation: str) -> TextFinding:
    return TextFinding(
        sentence.sentence_id, sentence.sentence_id, sentence.exam_id, sentence.sentence, sentence.start, sentence.end,
        None, None, outcome, explanation, 0, "", None, None, None, None, "none", "",
    )  # fmt: skip


# --- filters ---------------------------------------------------------------------------------------------------------


def _filtered(finding: TextFinding, sentence: Sentence, settings: ConsensusSettings, words: Vocabulary) -> TextFinding:
    if finding.outcome is not Outcome.ACCEPTED or finding.suvmax_reported is None:
        return finding
    if settings.min_suvmax is not None and finding.suvmax_reported < settings.min_suvmax:
        why = f"SUVmax {finding.suvmax_reported:g} is under {settings.min_suvmax:g}"
        why += ", too close to background to be contoured."
        return replace(finding, outcome=Outcome.SUV_TOO_LOW, explanation=why)
    # A part of a split sentence may leave the organ to the words before it ("nodes in the right axilla ... and the
    # left ..."). Without a slice the place is what locates.
    texts = (finding.sentence, sentence.sentence)
    is_placed = finding.organ or finding.region or any(names_anatomy(t, sentence.section, words) for t in texts)
    if finding.slice is None and not (finding.organ or finding.region):
        why = f"SUVmax {finding.suvmax_reported:g} without a slice, and neither organ nor region to look for it in."
        return replace(finding, outcome=Outcome.NOTHING_TO_LOCATE_BY, explanation=why)
    if settings.require_anatomy and not is_placed:
        why = "Neither the sentence nor its heading says where in the body the finding is."
        return replace(finding, outcome=Outcome.NO_ANATOMY, explanation=why)
    return finding


def _named(findings: Sequence[TextFinding]) -> list[TextFinding]:
    """The findings with ids of their own: those of one sentence are numbered."""
    n = Counter(f.sentence_id for f in findings)
    seen: Counter[str] = Counter()
    out = []
    for finding in findings:
        if n[finding.sentence_id] > 1:
            seen[finding.sentence_id] += 1
            finding = replace(finding, finding_id=f"{finding.sentence_id}.{seen[finding.sentence_id]}")
        out.append(finding)
    return out


def _without_duplicates(findings: Sequence[TextFinding]) -> list[TextFinding]:
    """The findings, each lesion accepted once; where it is said with a slice and without, the one with the slice."""
    accepted: list[TextFinding] = []
    repeats: dict[str, str] = {}
    for finding in sorted((f for f in findings if f.outcome is Outcome.ACCEPTED), key=lambda f: f.slice is None):
        earlier = next((f for f in accepted if _is_same(f, finding)), None)
        if earlier is None:
            accepted.append(finding)
        else:
            repeats[finding.finding_id] = earlier.finding_id
    out = []
    for f in findings:
        if f.finding_id in repeats:
            where = f" on slice {f.slice}" if f.slice is not None else ""
            why = f"SUVmax {f.suvmax_reported:g}{where} is already the finding {repeats[f.finding_id]}."
            f = replace(f, outcome=Outcome.DUPLICATE, explanation=why)
        out.append(f)
    return out


def _is_same(a: TextFinding, b: TextFinding) -> bool:
    """Whether two findings can be one lesion: equal values and no other side; without slices also no other organ."""
    if a.suvmax_reported != b.suvmax_reported or {a.laterality, b.laterality} == {"left", "right"}:
        return False
    if a.slice is not None and b.slice is not None:
        return a.slice == b.slice
    return a.organ == b.organ or (None in (a.organ, b.organ) and a.region == b.region)
