"""From what the readers say to findings: grounding, votes, filters, and one outcome for every candidate sentence."""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from pipelines.reports.readers import Reading
from pipelines.reports.rules.expressions import MAX_SUV, find_expressions
from pipelines.reports.rules.pairs import Extraction, extract
from pipelines.reports.rules.values import Role
from pipelines.reports.sentences import Sentence
from pipelines.reports.structure import Fields, names_anatomy, structure, structure_parts
from pipelines.reports.vocabulary.text import clean, lower
from pipelines.reports.vocabulary.vocabulary import Vocabulary, package_vocabulary
from pipelines.settings import ConsensusSettings
from pipelines.tables.outcomes import Outcome

SUV_DECIMALS = 2
"""SUVs are compared after rounding to this: 4.2 and 4.20 are one vote."""
FAILED_NOTE = "Fields by rules, the model failed"
"""Stands in the explanation of a finding that the model gave no fields; another run may mend it."""


@dataclass(frozen=True)
class TextFinding:
    """A finding of a report, or a candidate sentence that gave none. `explanation` says why in words.

    `start` and `end` are its place in the report. `slice` and `suvmax_reported` are the accepted values, or the ones it
    was rejected with, as far as known. `votes` counts the readers that give the values, whatever their weight, and
    `readers` names them, sorted and parted by commas; `agreement` is their share of the readers that did not fail, null
    where no values were voted on.
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


@dataclass(frozen=True)
class _Verdict:
    slice: int | None
    suvmax: float | None
    outcome: Outcome
    explanation: str
    votes: int = 0
    readers: tuple[str, ...] = ()
    agreement: float | None = None


def decide(
    sentence: Sentence,
    readings: Sequence[Reading],
    settings: ConsensusSettings | None = None,
    vocabulary: Vocabulary | None = None,
) -> list[TextFinding]:
    """Findings of one sentence: none unless it is a candidate, else exactly one outcome, or one for each lesion where
    it is split.

    Args:
        readings: of this sentence, at most one a reader. None at all counts as a failed reading.
        vocabulary: by default the package's.

    Raises:
        ValueError: a reading belongs to another sentence, or a reader read twice.
    """
    settings = settings or ConsensusSettings()
    words = vocabulary or package_vocabulary()
    _check(sentence, readings)
    if not sentence.is_candidate:
        return []
    known = extract(sentence.sentence, words)
    if sentence.section and words.cues["heading_of_before"].fullmatch(sentence.section.strip()):
        why = f"It stands under {sentence.section}, which tells of the time before this exam."
        verdict = _Verdict(known.slice, known.suvmax, Outcome.NOT_CURRENT, why)
        return [_whole(sentence, verdict, words)]
    if len(known.lesions) > 1:
        out = []
        spans = [(x.start, x.end) for x in known.lesions]
        fields = structure_parts(sentence.sentence, spans, sentence.section, words)
        for n, (lesion, own) in enumerate(zip(known.lesions, fields, strict=True), start=1):
            if lesion.slice is None:
                why = "No slice of the finding: no number goes with a slice."
                verdict = _Verdict(None, lesion.suvmax, Outcome.NO_SLICE, why)
            else:
                verdict = _pair_verdict(lesion.slice, lesion.suvmax, readings, settings)
            finding = _finding(sentence, f".{n}", lesion.start, lesion.end, own, verdict)
            out.append(_filtered(finding, sentence, settings, words))
        return out
    verdict = _verdict(sentence, readings, known, settings, words)
    return [_filtered(_whole(sentence, verdict, words), sentence, settings, words)]


def decide_exam(
    sentences: Sequence[Sentence],
    readings: Iterable[Reading],
    settings: ConsensusSettings | None = None,
    vocabulary: Vocabulary | None = None,
) -> list[TextFinding]:
    """Findings of all sentences of one exam, in reading order; a lesion that is said twice is accepted once.

    Args:
        readings: of any of the sentences, in any order.
    """
    by_sentence: dict[str, list[Reading]] = defaultdict(list)
    for reading in readings:
        by_sentence[reading.sentence_id].append(reading)
    findings = [f for s in sentences for f in decide(s, by_sentence[s.sentence_id], settings, vocabulary)]
    return _without_duplicates(findings)


# --- votes -----------------------------------------------------------------------------------------------------------


def _check(sentence: Sentence, readings: Sequence[Reading]) -> None:
    for reading in readings:
        if reading.sentence_id != sentence.sentence_id:
            raise ValueError(
                f"expected readings of sentence {sentence.sentence_id}, got one of {reading.sentence_id} by reader "
                f"{reading.reader!r}:"
                " pass each sentence its own readings"
            )
    names = [r.reader for r in readings]
    if len(set(names)) != len(names):
        raise ValueError(
            f"expected one reading a reader for sentence {sentence.sentence_id}, got readers {sorted(names)}: give "
            f"each reader its own name"
        )


def _needed(readings: Sequence[Reading], settings: ConsensusSettings) -> int:
    return settings.min_votes if len(readings) > 1 else 1


def _weight(reading: Reading, settings: ConsensusSettings) -> int:
    return settings.weights.get(reading.reader, 1)


def _grounds(text: str, words: Vocabulary) -> tuple[set[int], set[float]]:
    """Numbers of a text that may be a slice, and that may be an SUVmax, of a lesion on the current exam.

    Those are the ones that the expressions take for that, and the ones that they cannot place, for a reader may know a
    wording that they do not. A number that has another meaning (a prior exam's, a reference region's, a size, a series)
    is not among them.
    """
    found = find_expressions(lower(clean(text)), words)
    slices = {s.number for s in found.slices if s.role in (Role.CURRENT, Role.LIST)}
    suvs = {round(v.value, SUV_DECIMALS) for v in found.suvs if v.role is Role.CURRENT}
    slices |= {int(n) for n in found.unclaimed if n == int(n) and n > 0}
    suvs |= {round(n, SUV_DECIMALS) for n in found.unclaimed if 0 < n <= MAX_SUV}
    return slices, suvs


def _verdict(
    sentence: Sentence, readings: Sequence[Reading], known: Extraction, settings: ConsensusSettings, words: Vocabulary
) -> _Verdict:
    def rejected(outcome: Outcome, explanation: str) -> _Verdict:
        return _Verdict(known.slice, known.suvmax, outcome, explanation)

    if known.reason is Outcome.TEMPLATE:
        return rejected(Outcome.TEMPLATE, f"Not a finding: {known.note}.")
    valid = [r for r in readings if r.error is None]
    if not valid:
        return rejected(Outcome.READER_FAILED, _failures(readings))
    total = sum(_weight(r, settings) for r in valid)
    not_current = sum(_weight(r, settings) for r in valid if r.is_current is False)
    if 2 * not_current >= total:
        return rejected(Outcome.NOT_CURRENT, "The SUV belongs to a prior exam, not to this one.")
    several = sum(_weight(r, settings) for r in valid if (r.n_lesions or 0) > 1)
    if 2 * several >= total:
        why = (
            known.note
            if known.reason is Outcome.SEVERAL_LESIONS
            else "the sentence names several lesions and one pair of values"
        )
        return rejected(Outcome.SEVERAL_LESIONS, f"More than one lesion: {why}.")

    return _voted(sentence, readings, known, settings, words)


def _voted(
    sentence: Sentence, readings: Sequence[Reading], known: Extraction, settings: ConsensusSettings, words: Vocabulary
) -> _Verdict:
    """Verdict by the votes for a slice and an SUVmax that stand in the sentence."""

    def rejected(outcome: Outcome, explanation: str) -> _Verdict:
        return _Verdict(known.slice, known.suvmax, outcome, explanation)

    valid = [r for r in readings if r.error is None]
    slices, suvs = _grounds(sentence.sentence, words)
    said_slices = {r.slice for r in valid if r.slice is not None}
    said_suvs = {round(r.suvmax, SUV_DECIMALS) for r in valid if r.suvmax is not None}
    if not said_suvs or not said_slices:
        what, outcome = ("SUVmax", Outcome.NO_SUVMAX) if not said_suvs else ("slice", Outcome.NO_SLICE)
        if known.reason is not None and (not said_suvs and not said_slices):
            return rejected(known.reason, f"No pair of slice and SUVmax: {known.note}.")
        return rejected(
            outcome,
            f"No reader found a {what} of the finding."
            if not known.note
            else f"No {what} of the finding: {known.note}.",
        )
    grounded = [
        r
        for r in valid
        if (r.slice is None or r.slice in slices) and (r.suvmax is None or round(r.suvmax, SUV_DECIMALS) in suvs)
    ]
    if not any(r.slice is not None for r in grounded) or not any(r.suvmax is not None for r in grounded):
        wrong = sorted(said_suvs - suvs) or sorted(said_slices - slices)
        return rejected(
            Outcome.NOT_GROUNDED,
            f"What was read ({', '.join(f'{w:g}' for w in wrong)}) does not stand in the sentence as this finding's "
            f"slice or SUVmax.",
        )
    slice_votes: dict[int, list[Reading]] = defaultdict(list)
    suv_votes: dict[float, list[Reading]] = defaultdict(list)
    for reading in grounded:
        if reading.slice is not None:
            slice_votes[reading.slice].append(reading)
        if reading.suvmax is not None:
            suv_votes[round(reading.suvmax, SUV_DECIMALS)].append(reading)
    best_slice, n_slice, by_slice = _winner(slice_votes, settings)
    best_suv, n_suv, by_suv = _winner(suv_votes, settings)
    needed = _needed(readings, settings)
    # Votes count per value, but a pair that no reader gives as a pair may be of two lesions.
    is_said = any(
        r.slice == best_slice and r.suvmax is not None and round(r.suvmax, SUV_DECIMALS) == best_suv for r in grounded
    )
    if best_slice is None or best_suv is None or min(n_slice, n_suv) < needed or not is_said:
        return rejected(Outcome.READERS_DISAGREE, _disagreement(readings, needed))
    voters = sorted({r.reader for r in by_slice} & {r.reader for r in by_suv})
    return _Verdict(
        int(best_slice),
        best_suv,
        Outcome.ACCEPTED,
        _agreement(min(n_slice, n_suv), voters, readings),
        min(len(by_slice), len(by_suv)),
        tuple(voters),
        min(len(by_slice), len(by_suv)) / len(valid),
    )


def _winner(
    votes: Mapping[int, list[Reading]] | Mapping[float, list[Reading]], settings: ConsensusSettings
) -> tuple[float | None, int, list[Reading]]:
    counts = sorted(((sum(_weight(r, settings) for r in who), value) for value, who in votes.items()), reverse=True)
    if not counts or (len(counts) > 1 and counts[0][0] == counts[1][0]):
        return None, counts[0][0] if counts else 0, []
    return counts[0][1], counts[0][0], votes[counts[0][1]]  # type: ignore[index]  # the key comes from this mapping


def _pair_verdict(number: int, suvmax: float, readings: Sequence[Reading], settings: ConsensusSettings) -> _Verdict:
    """Verdict on one lesion of a sentence that names several: the votes of the readers that give this very pair."""
    valid = [r for r in readings if r.error is None]
    if not valid:
        return _Verdict(number, suvmax, Outcome.READER_FAILED, _failures(readings))
    wanted = (number, round(suvmax, SUV_DECIMALS))
    voters = [r for r in valid if wanted in {(s, round(v, SUV_DECIMALS)) for s, v in r.pairs}]
    votes = sum(_weight(r, settings) for r in voters)
    needed = _needed(readings, settings)
    names = tuple(sorted(r.reader for r in voters))
    if votes < needed:
        outcome, explanation = Outcome.READERS_DISAGREE, _disagreement(readings, needed)
    else:
        outcome, explanation = Outcome.ACCEPTED, _agreement(votes, names, readings)
    return _Verdict(number, suvmax, outcome, explanation, len(voters), names, len(voters) / len(valid))


def _failures(readings: Sequence[Reading]) -> str:
    if not readings:
        return "No reader has read the sentence yet: run the readings again."
    return "Every reader failed: " + "; ".join(f"{r.reader}: {r.error}" for r in readings) + ". Run the readings again."


def _said(reading: Reading) -> str:
    if reading.error is not None:
        return f"{reading.reader} failed ({reading.error})"
    if len(reading.pairs) > 1:
        return f"{reading.reader} read " + " and ".join(f"SUVmax {v:g} on slice {s}" for s, v in reading.pairs)
    suv = "no SUVmax" if reading.suvmax is None else f"SUVmax {reading.suvmax:g}"
    number = "no slice" if reading.slice is None else f"slice {reading.slice}"
    return f"{reading.reader} read {suv} on {number}"


def _disagreement(readings: Sequence[Reading], needed: int) -> str:
    return f"Fewer than {needed} equal votes: " + "; ".join(_said(r) for r in readings) + "."


def _agreement(votes: int, voters: Sequence[str], readings: Sequence[Reading]) -> str:
    others = [r.reader for r in readings if r.error is None and r.reader not in voters]
    failed = [r.reader for r in readings if r.error is not None]
    text = f"Slice and SUVmax stand in the sentence and were read by {', '.join(voters)}"
    if len(readings) > 1:
        text += f" ({votes} votes"
        text += f"; otherwise by {', '.join(others)}" if others else ""
        text += f"; failed: {', '.join(failed)}" if failed else ""
        text += ")"
    return text + "."


# --- filters ---------------------------------------------------------------------------------------------------------


def _whole(sentence: Sentence, verdict: _Verdict, words: Vocabulary) -> TextFinding:
    fields = structure(sentence.sentence, sentence.section, words)
    return _finding(sentence, "", 0, len(sentence.sentence), fields, verdict)


def _finding(sentence: Sentence, suffix: str, start: int, end: int, fields: Fields, verdict: _Verdict) -> TextFinding:
    """Finding of a part of a sentence, `start`..`end` in it."""
    return TextFinding(
        finding_id=sentence.sentence_id + suffix,
        sentence_id=sentence.sentence_id,
        exam_id=sentence.exam_id,
        sentence=sentence.sentence[start:end],
        start=sentence.start + start,
        end=sentence.start + end,
        slice=verdict.slice,
        suvmax_reported=verdict.suvmax,
        outcome=verdict.outcome,
        explanation=verdict.explanation,
        votes=verdict.votes,
        readers=",".join(verdict.readers),
        agreement=verdict.agreement,
        **vars(fields),
    )


def _filtered(finding: TextFinding, sentence: Sentence, settings: ConsensusSettings, words: Vocabulary) -> TextFinding:
    if finding.outcome is not Outcome.ACCEPTED or finding.suvmax_reported is None:
        return finding
    if settings.min_suvmax is not None and finding.suvmax_reported < settings.min_suvmax:
        return replace(
            finding,
            outcome=Outcome.SUV_TOO_LOW,
            explanation=f"SUVmax {finding.suvmax_reported:g} is under {settings.min_suvmax:g},"
            " too close to background to be contoured.",
        )
    # A part of a split sentence may leave the organ to the words before it ("nodes in the right axilla ... and the
    # left ...").
    texts = (finding.sentence, sentence.sentence)
    if settings.require_anatomy and not any(names_anatomy(text, sentence.section, words) for text in texts):
        return replace(
            finding,
            outcome=Outcome.NO_ANATOMY,
            explanation="Neither the sentence nor its heading says where in the body the finding is.",
        )
    return finding


def _without_duplicates(findings: Sequence[TextFinding]) -> list[TextFinding]:
    first: dict[tuple[int | None, float | None], TextFinding] = {}
    out = []
    for finding in findings:
        if finding.outcome is Outcome.ACCEPTED:
            key = (finding.slice, finding.suvmax_reported)
            earlier = first.setdefault(key, finding)
            if earlier is not finding and _may_be_same(earlier, finding):
                finding = replace(
                    finding,
                    outcome=Outcome.DUPLICATE,
                    explanation=f"SUVmax {finding.suvmax_reported:g} on slice {finding.slice} is already the finding"
                    f" {earlier.finding_id}.",
                )
        out.append(finding)
    return out


def _may_be_same(a: TextFinding, b: TextFinding) -> bool:
    """Whether two findings with equal values can be one lesion: not where their sides differ."""
    return {a.laterality, b.laterality} != {"left", "right"}
