"""Reports of hard exams: lesions by slice and SUV, by SUV, by slice or by place alone, in a workstation's numbers."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

import numpy as np

from pipelines.phantom.hard.settings import HardSettings, Workstation
from pipelines.phantom.sites import ABDOMEN, CHEST, Site
from pipelines.phantom.wording import (
    AVID,
    REGIONS,
    Claim,
    Rng,
    Sentence,
    normal_sentences,
    pick,
    size_words,
    slice_words,
    suv_words,
    upper_first,
    with_article,
)
from pipelines.tables.outcomes import Outcome


class Evidence(StrEnum):
    """What a sentence gives of a lesion beside its place."""

    SLICE_SUV = "slice+SUV"
    SUV = "SUV"
    SLICE = "slice"
    PLACE = "place"


_MIXED = {Evidence.SLICE_SUV: 0.4, Evidence.SUV: 0.3, Evidence.SLICE: 0.15, Evidence.PLACE: 0.15}


@dataclass(frozen=True)
class Mention:
    """A lesion (or one that is not there) as a report gives it: words of its site and the numbers shown."""

    lesion_id: str
    site: Site
    slice: int | None
    suvmax: float | None
    size_mm: tuple[float, float]
    is_necrotic: bool = False
    outcome: Outcome = Outcome.LESION

    @property
    def claim(self) -> Claim:
        """What it states, and what must become of it."""
        return Claim(self.slice, self.suvmax, self.outcome, self.lesion_id)


def draw_evidence(settings: HardSettings, rng: Rng) -> Evidence:
    """What a sentence gives of a lesion."""
    if settings.evidence == "slices":
        return Evidence.SLICE_SUV
    if settings.evidence == "suv":
        return Evidence.SUV
    return list(_MIXED)[int(rng.choice(len(_MIXED), p=list(_MIXED.values())))]


def outcome_of(evidence: Evidence) -> Outcome:
    """What must become of a lesion that is in the image and in words of this kind."""
    return {
        Evidence.SLICE_SUV: Outcome.LESION,
        Evidence.SUV: Outcome.LESION,
        Evidence.SLICE: Outcome.NO_SUVMAX,
        Evidence.PLACE: Outcome.NO_SUVMAX,
    }[evidence]


def lesion_sentence(mention: Mention, tracer: str, station: Workstation, rng: Rng) -> Sentence:
    """One sentence about a lesion."""
    site, avid, noun = mention.site, pick(rng, AVID[tracer]), pick(rng, mention.site.nouns)
    size, numbers = size_words(mention.size_mm, rng), _numbers(mention.slice, mention.suvmax, station, rng)
    necrotic = " with central photopenia" if mention.is_necrotic and rng.random() < 0.6 else ""
    prior = _prior(mention, station, rng)
    tail = f" with {numbers}{prior}" if mention.suvmax is not None else f" {numbers}".rstrip() + prior
    forms = (
        f"{upper_first(avid)} {noun} in the {site.location}{tail}.",
        f"There is {with_article(f'{avid} {site.adjective} {noun}')} measuring {size}{tail}.",
        f"{upper_first(with_article(f'{size} {avid} {noun}'))} in the {site.location}{tail}.",
        f"{upper_first(site.adjective)} {noun}{necrotic} measuring {size}{tail}.",
        f"{upper_first(avid)} {site.adjective} {noun}{necrotic}{tail}.",
    )
    return Sentence(site.region, pick(rng, forms), (mention.claim,))


def joined_sentence(mentions: Sequence[Mention], tracer: str, station: Workstation, rng: Rng) -> Sentence:
    """Lesions of one region in one sentence, each with its own numbers, joined by semicolons."""
    parts = []
    for n, mention in enumerate(mentions):
        avid = f"{pick(rng, AVID[tracer])} " if n == 0 else ""
        noun, numbers = pick(rng, mention.site.nouns), _numbers(mention.slice, mention.suvmax, station, rng)
        parts.append(f"{avid}{mention.site.adjective} {noun} with {numbers}")
    text = "; ".join(parts)
    return Sentence(mentions[0].site.region, f"{upper_first(text)}.", tuple(m.claim for m in mentions))


def _numbers(slice: int | None, suvmax: float | None, station: Workstation, rng: Rng) -> str:
    words = []
    if suvmax is not None:
        words.append(suv_words(suvmax, rng, 0 if station.step >= 1 else 1))
    if slice is not None:
        words.append(slice_words(slice, rng))
    return " ".join(words)


def _prior(mention: Mention, station: Workstation, rng: Rng) -> str:
    """In a third of the sentences with an SUV, what it was before."""
    if mention.suvmax is None or rng.random() > 0.33:
        return ""
    before = mention.suvmax * float(np.exp(rng.normal(0, 0.35)))
    text = f"{before:.{0 if station.step >= 1 else 1}f}"
    return pick(rng, (", previously {}", ", compared to {} on the prior study", " (prior {})")).format(text)


def reference_sentences(uptake: dict[str, float], evidence: str, slices: tuple[int, int], rng: Rng) -> list[Sentence]:
    """The SUV of liver and mediastinal blood pool, with a slice where the report names slices."""
    forms = (
        (ABDOMEN, "Background liver activity has {}{}.", uptake["liver"], slices[0]),
        (CHEST, "Mediastinal blood pool background measures {}{}.", uptake["blood"], slices[1]),
    )
    sentences = []
    for region, form, suv, number in forms:
        if rng.random() < 0.5:
            continue
        shown = round(suv * 1.2, 1)
        at = "" if evidence == "suv" else f" ({pick(rng, ('slice', 'image'))} {number})"
        claim = Claim(None if evidence == "suv" else number, shown, Outcome.TEMPLATE)
        sentences.append(Sentence(region, form.format(suv_words(shown, rng), at), (claim,)))
    return sentences


def physiologic_sentence(claim: Claim, station: Workstation, rng: Rng) -> Sentence:
    """Physiologic uptake of an organ with its own numbers; the claim's lesion names the organ."""
    forms = (
        "Physiologic activity in the {}, {}.",
        "Excreted tracer within the {} with {}.",
        "The {} shows expected activity with {}.",
    )
    text = pick(rng, forms).format(claim.lesion_id, _numbers(claim.slice, claim.suvmax_reported, station, rng))
    return Sentence(ABDOMEN, text, (claim,))


def group_sentences(mentions: Sequence[Mention], tracer: str, station: Workstation, rng: Rng) -> list[Sentence]:
    """Sentences for mentions in order; some neighbours of one region share one."""
    sentences, n = [], 0
    while n < len(mentions):
        first = mentions[n]
        pair = mentions[n : n + 2]
        can_join = len(pair) == 2 and pair[1].site.region == first.site.region and all(m.suvmax for m in pair)
        if can_join and rng.random() < 0.25:
            sentences.append(joined_sentence(pair, tracer, station, rng))
            n += 2
            continue
        sentences.append(lesion_sentence(first, tracer, station, rng))
        n += 1
    return sentences


def with_normal(sentences: Sequence[Sentence], tracer: str, rng: Rng) -> list[Sentence]:
    """The sentences among those without a finding, in random order."""
    every = [*sentences]
    for region in REGIONS:
        every.extend(normal_sentences(region, tracer, rng))
    return [every[int(n)] for n in rng.permutation(len(every))]
