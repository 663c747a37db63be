"""Reports of the even phantom: a sentence for each lesion, sentences to reject, and the truth about each."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from pipelines.phantom import wording
from pipelines.phantom.acquisition import Frame
from pipelines.phantom.imaged import Imaged, Truth
from pipelines.phantom.tumours import Maxima
from pipelines.tables.outcomes import Outcome

DECOYS = (
    "liver",
    "blood pool",
    "faint",
    "range",
    "pair",
    "prior only",
    "not in the image",
    "outside",
    "physiologic",
    "no anatomy",
    "wrong side",
    "said twice",
)
"""Kinds of sentence that a curation must reject, or (physiologic, said twice) take for exactly one finding."""


@dataclass(frozen=True)
class ReportedExam:
    """What a report is written of. `earlier` are the lesions of the patient's previous exam, None for the first one."""

    lesions: Sequence[Imaged]
    physiologic: Sequence[Imaged]
    maxima: Maxima
    frame: Frame
    earlier: Sequence[Imaged] | None
    tracer: str
    uptake: dict[str, float]

    @property
    def n_slices(self) -> int:
        """Slices of the image."""
        return self.frame.shape[2]


@dataclass
class Report:
    """The sentences of a report, no pair of numbers claimed twice."""

    exam: ReportedExam
    decoys: Sequence[str]
    rng: np.random.Generator
    sentences: list[wording.Sentence] = field(default_factory=list)
    claimed: set[tuple[int | None, float | None]] = field(default_factory=set)

    def write(self, unclear: Sequence[wording.Sentence] = ()) -> tuple[str, str, tuple[Truth, ...]]:
        """The findings and the impression, and a truth for every claim in the findings; `unclear` is said too."""
        exam, rng = self.exam, self.rng
        seen = [seen_of(i, exam.n_slices, exam.earlier) for i in exam.lesions]
        hidden = self._odd_lesions(seen)
        open_lesions = [s for s in seen if s.lesion_id not in hidden]
        self._lesions(open_lesions)
        for kind in self.decoys:
            self._decoy(kind)
        for sentence in unclear:
            self._say(sentence)
        for region in wording.REGIONS:
            self.sentences.extend(wording.normal_sentences(region, exam.tracer, rng))
        order = rng.permutation(len(self.sentences))
        mixed = [self.sentences[int(n)] for n in order]
        truths = self._truths(mixed, {s.lesion_id: s.comparison for s in seen})
        return wording.write_findings(mixed, rng), wording.write_impression(open_lesions, exam.tracer, rng), truths

    def _say(self, sentence: wording.Sentence) -> bool:
        keys = {(c.slice, c.suvmax_reported) for c in sentence.claims}
        if keys & self.claimed:
            return False
        self.claimed.update(keys)
        self.sentences.append(sentence)
        return True

    def _odd_lesions(self, seen: Sequence[wording.Seen]) -> set[str]:
        """Says a lesion without its place and one on the wrong side, where asked for; returns which."""
        exam, rng = self.exam, self.rng
        by_id = {i.lesion_id: i for i in exam.lesions}
        hidden: set[str] = set()
        if "no anatomy" in self.decoys and len(seen) > 2 and self._say(wording.nowhere_sentence(seen[-1], rng)):
            hidden.add(seen[-1].lesion_id)
        sided = [
            s
            for s in seen
            if s.site.side and s.lesion_id not in hidden and abs(_x_of(by_id[s.lesion_id], exam.frame)) > 25
        ]
        is_asked = "wrong side" in self.decoys and len(seen) > 1 and sided
        if is_asked and self._say(wording.wrong_side_sentence(sided[-1], exam.tracer, rng)):
            hidden.add(sided[-1].lesion_id)
        return hidden

    def _lesions(self, seen: Sequence[wording.Seen]) -> None:
        """Says each lesion, some two of a region in one sentence."""
        tracer, rng, n = self.exam.tracer, self.rng, 0
        while n < len(seen):
            first = seen[n]
            second = seen[n + 1] if n + 1 < len(seen) else None
            if second is not None and second.site.region == first.site.region and rng.random() < 0.3:
                self._say(wording.joined_sentence(first, second, tracer, rng))
                n += 2
                continue
            sentence = wording.lesion_sentence(first, tracer, rng)
            if self._say(sentence) and "said twice" in self.decoys and n == 0:
                self.sentences.append(sentence)
            n += 1

    def _decoy(self, kind: str) -> None:
        exam, rng = self.exam, self.rng
        at = self._random_slice()
        if kind in ("liver", "blood pool"):
            uptake = exam.uptake["liver" if kind == "liver" else "blood"]
            self._say(wording.reference_sentence(kind, _organ_slice(exam.frame, kind), _tenth(uptake * 1.25), rng))
        elif kind == "faint":
            self._say(wording.faint_sentence(at, _tenth(rng.uniform(1.1, 2.4)), rng))
        elif kind in ("range", "pair"):
            low = _tenth(rng.uniform(2.6, 5.0))
            self._say(wording.several_sentence(at, low, _tenth(low + rng.uniform(0.6, 4)), kind == "range", rng))
        elif kind == "prior only":
            self._say(wording.prior_sentence(at, _tenth(rng.uniform(3, 12)), rng))
        elif kind == "outside":
            beyond = exam.n_slices + int(rng.integers(5, 90))
            suv = _tenth(rng.uniform(4, 14))
            self._say(wording.absent_sentence(beyond, suv, exam.tracer, Outcome.SLICE_OUTSIDE, rng))
        elif kind == "not in the image":
            self._absent()
        elif kind == "physiologic" and exam.physiologic:
            chosen = exam.physiologic[int(rng.integers(len(exam.physiologic)))]
            name, slice_number = chosen.lesion_id, exam.n_slices - chosen.slice_k
            self._say(
                wording.physiologic_sentence("Abdomen/Pelvis", name, slice_number, chosen.suvmax_reported, name, rng)
            )

    def _absent(self) -> None:
        """Says a lesion that the image does not hold."""
        exam, rng = self.exam, self.rng
        for _ in range(20):
            at, suv = self._random_slice(), _tenth(rng.uniform(4.5, 26))
            if not exam.maxima.matching(exam.n_slices - at, suv, tolerance_suv=0.3):
                self._say(wording.absent_sentence(at, suv, exam.tracer, Outcome.NOT_IN_IMAGE, rng))
                return

    def _random_slice(self) -> int:
        n_k = self.exam.n_slices
        return int(self.rng.integers(n_k // 5, 4 * n_k // 5))

    def _truths(self, sentences: Sequence[wording.Sentence], comparisons: dict[str, str]) -> tuple[Truth, ...]:
        """A truth for every claim; a sentence that is said twice counts once."""
        by_id = {i.lesion_id: i for i in (*self.exam.lesions, *self.exam.physiologic)}
        truths = []
        for sentence in dict.fromkeys(sentences):
            for claim in sentence.claims:
                imaged, comparison = by_id.get(claim.lesion_id), comparisons.get(claim.lesion_id, "")
                truths.append(Truth(claim, sentence.text, imaged, comparison))
        return tuple(truths)


def seen_of(imaged: Imaged, n_k: int, earlier: Sequence[Imaged] | None) -> wording.Seen:
    """A lesion as the reporting physician sees it, in an image of `n_k` slices."""
    assert imaged.tumour is not None
    before = {i.lesion_id: i.suvmax_reported for i in earlier or ()}
    return wording.Seen(
        lesion_id=imaged.lesion_id,
        site=imaged.tumour.site,
        slice=n_k - imaged.slice_k,
        suvmax=imaged.suvmax_reported,
        size_mm=imaged.size_mm,
        prior_suvmax=before.get(imaged.lesion_id),
        is_new=earlier is not None and imaged.lesion_id not in before,
        necrotic=imaged.tumour.core > 0,
    )


def _tenth(value: float) -> float:
    return round(float(value), 1)


def _x_of(imaged: Imaged, frame: Frame) -> float:
    return float(frame.grid.x[imaged.peak.ijk[0]])


def _organ_slice(frame: Frame, kind: str) -> int:
    height = -640.0 if kind == "liver" else -430.0
    return frame.shape[2] - int(np.abs(frame.grid.z - height).argmin())
