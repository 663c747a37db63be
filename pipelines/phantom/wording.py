"""Reports in the manner of real ones, from templates of our own: sentences with a finding and sentences with none.

Every sentence carries the claims it makes (slice, SUVmax, and what must become of them), so the truth is written with
the text.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from pipelines.phantom.sites import ABDOMEN, BONES, CHEST, HEAD_NECK, REGIONS, Site
from pipelines.tables.outcomes import Outcome

Rng = np.random.Generator

AVID = {
    "FDG": ("FDG-avid", "FDG avid", "hypermetabolic", "intensely hypermetabolic", "markedly FDG avid"),
    "DOTATATE": ("DOTATATE-avid", "tracer-avid", "somatostatin receptor positive"),
    "DCFPyL": ("PSMA-avid", "radiotracer-avid", "PSMA-expressing"),
}


@dataclass(frozen=True)
class Claim:
    """One pair of numbers in a sentence, None where the sentence does not give one of them. `lesion_id` names what they
    belong to, empty where there is nothing.
    """

    slice: int | None
    suvmax_reported: float | None
    outcome: Outcome
    lesion_id: str = ""


@dataclass(frozen=True)
class Sentence:
    """A piece of the findings section; `text` may be two sentences where the numbers stand in neighbouring ones."""

    region: str
    text: str
    claims: tuple[Claim, ...] = ()


@dataclass(frozen=True)
class Seen:
    """A lesion as the reporting physician sees it."""

    lesion_id: str
    site: Site
    slice: int
    suvmax: float
    size_mm: tuple[float, float]
    prior_suvmax: float | None
    is_new: bool
    necrotic: bool

    @property
    def comparison(self) -> str:
        """new, increased, decreased, stable or none, by the SUVmax (15 %)."""
        if self.prior_suvmax is None:
            return "new" if self.is_new else "none"
        ratio = self.suvmax / self.prior_suvmax
        return "increased" if ratio > 1.15 else "decreased" if ratio < 0.85 else "stable"


def pick(rng: Rng, options: Sequence[str]) -> str:
    """One of the options."""
    return options[int(rng.integers(len(options)))]


def upper_first(text: str) -> str:
    """The text with its first letter in upper case, the rest untouched."""
    return text[:1].upper() + text[1:]


def with_article(phrase: str) -> str:
    """The phrase after "a" or "an"."""
    vowel = phrase[:1].lower() in "aeio" or phrase.startswith(("FDG", "11", "8"))
    return f"{'an' if vowel else 'a'} {phrase}"


def suv_words(suv: float, rng: Rng, digits: int = 1) -> str:
    """A SUVmax in one of the ways in which it is dictated, with so many digits after the point."""
    forms = (
        "SUV max of {}",
        "SUVmax of {}",
        "SUVmax {}",
        "SUV max {}",
        "maximum SUV of {}",
        "SUVmax: {}",
        "max SUV {}",
        "SUV Max of {}",
    )
    return pick(rng, forms).format(f"{suv:.{digits}f}")


def slice_words(number: int, rng: Rng) -> str:
    """A slice number in one of the ways in which it is dictated, in parentheses or not."""
    forms = (
        "(slice {})",
        "(slice {})",
        "(axial slice {})",
        "on slice {}",
        "(image {})",
        "(series 3, image {})",
        "on axial image {}",
        "(fused slice {})",
        "at slice {}",
        "(series 4 image {})",
        "(PET slice {})",
        "(axial fused image {})",
        "(slice number {})",
    )
    return pick(rng, forms).format(number)


def size_words(size_mm: tuple[float, float], rng: Rng) -> str:
    """An axial size, in cm or mm, in one or two dimensions."""
    long, short = size_mm
    forms = (
        f"{long / 10:.1f} x {short / 10:.1f} cm",
        f"{long / 10:.1f} cm",
        f"{long:.0f} x {short:.0f} mm",
        f"{long:.0f} mm",
    )
    return pick(rng, forms)


def _prior(seen: Seen, rng: Rng) -> str:
    """What follows the SUV where the lesion was there before, or is new."""
    if seen.prior_suvmax is None:
        return (
            pick(rng, (", new since the prior examination", ", new from prior", ", not present previously"))
            if seen.is_new
            else ""
        )
    value = f"{seen.prior_suvmax:.1f}"
    by_trend = {
        "increased": (
            ", previously {}",
            ", increased from {}",
            " compared to {} on the prior study",
            ", was {} previously",
            " (prior {})",
        ),
        "decreased": (", previously {}", ", decreased from {}", " versus {} on the prior examination", ", formerly {}"),
        "stable": (
            ", previously {}",
            ", unchanged from {} previously",
            ", similar to prior ({} then)",
            " (prior SUV max {})",
        ),
    }
    return pick(rng, by_trend[seen.comparison]).format(value)


def _noun(seen: Seen, rng: Rng) -> str:
    noun = pick(rng, seen.site.nouns)
    if seen.site.organ == "lymph node" and seen.necrotic:
        noun = f"partly necrotic {noun}"
    elif seen.necrotic:
        noun = f"{noun} with central photopenia"
    return noun


def lesion_sentence(seen: Seen, tracer: str, rng: Rng) -> Sentence:
    """One lesion with slice and SUVmax, within one sentence or in two neighbouring ones."""
    noun, avid = _noun(seen, rng), pick(rng, AVID[tracer])
    site, suv, at, size = (
        seen.site,
        suv_words(seen.suvmax, rng),
        slice_words(seen.slice, rng),
        size_words(seen.size_mm, rng),
    )
    prior = _prior(seen, rng)
    plain = noun.split(" with ")[0]
    forms = [
        f"{upper_first(avid)} {noun} in the {site.location} with {suv} {at}{prior}.",
        f"There is {with_article(f'{avid} {site.adjective} {noun}')} measuring {size} {at} with {suv}{prior}.",
        f"{upper_first(with_article(f'{size} {avid} {noun}'))} in the {site.location} demonstrates {suv} {at}{prior}.",
        f"The {site.adjective} {plain} measures {size} and has {suv} {at}{prior}.",
        f"{upper_first(site.adjective)} {noun} shows {suv} {at}{prior}.",
        f"Again noted is {with_article(f'{avid} {plain}')} in the {site.location}, {suv} {at}{prior}.",
        f"Focal uptake in the {site.location} corresponding to a {size} {plain} {at}, {suv}{prior}.",
    ]
    if seen.is_new or seen.prior_suvmax is None:
        forms.pop(5)
    text = pick(rng, forms)
    if rng.random() < 0.1:
        image = pick(rng, ("(series 3, image {})", "(image {})", "on slice {}")).format(seen.slice)
        measure = pick(rng, ("SUV max", "SUVmax", "maximum SUV"))
        text = (
            f"{upper_first(with_article(f'{size} {plain}'))} is present in the {site.location} {image}. "
            f"The {measure} of this {plain} is {seen.suvmax:.1f}{prior}."
        )
    return Sentence(site.region, text, (_claim(seen),))


def _claim(seen: Seen) -> Claim:
    return Claim(seen.slice, seen.suvmax, Outcome.LESION, seen.lesion_id)


def joined_sentence(first: Seen, second: Seen, tracer: str, rng: Rng) -> Sentence:
    """Two lesions in one sentence, each with its own slice and SUVmax, joined by a semicolon."""
    parts = []
    for seen, avid in ((first, f"{pick(rng, AVID[tracer])} "), (second, "")):
        at = f"(slice {seen.slice})" if rng.random() < 0.6 else f"(image {seen.slice})"
        parts.append(
            f"{avid}{seen.site.adjective} {pick(rng, seen.site.nouns)} with {suv_words(seen.suvmax, rng)} {at}"
        )
    return Sentence(first.site.region, f"{upper_first(parts[0])}; {parts[1]}.", (_claim(first), _claim(second)))


def physiologic_sentence(region: str, organ: str, slice: int, suv: float, lesion_id: str, rng: Rng) -> Sentence:
    """Physiologic uptake with its own numbers. It can be located, so it is a finding like any other."""
    forms = (
        "Physiologic activity in the {organ}, {suv} {at}.",
        "Excreted tracer within the {organ} reaches {suv} {at}.",
        "The {organ} shows expected activity with {suv} {at}.",
    )
    text = pick(rng, forms).format(organ=organ, suv=suv_words(suv, rng), at=slice_words(slice, rng))
    return Sentence(region, text, (Claim(slice, suv, Outcome.LESION, lesion_id),))


def reference_sentence(kind: str, slice: int, suv: float, rng: Rng) -> Sentence:
    """The SUV of a reference region: liver or mediastinal blood pool."""
    if kind == "liver":
        form = pick(
            rng,
            (
                "Background liver activity has {} {}.",
                "Background hepatic parenchymal uptake shows {} {}.",
                "Liver background: {} {}.",
            ),
        )
        region = ABDOMEN
    else:
        form = pick(
            rng, ("Background mediastinal blood pool has {} {}.", "Mediastinal blood pool background measures {} {}.")
        )
        region = CHEST
    text = form.format(suv_words(suv, rng), f"({pick(rng, ('slice', 'image'))} {slice})")
    return Sentence(region, text, (Claim(slice, suv, Outcome.TEMPLATE),))


_FAINT = (
    (CHEST, "A tiny right lower lobe nodule is below the resolution of PET with {suv} {at}."),
    (CHEST, "Mild uptake in a small left axillary lymph node, {suv} {at}."),
    (HEAD_NECK, "Low-level symmetric uptake of the right palatine tonsil with {suv} {at}."),
    (BONES, "Faint uptake along a healing left 7th rib fracture shows {suv} {at}."),
    (ABDOMEN, "Minimal uptake in a subcentimeter left para-aortic node, {suv} {at}."),
)
_RANGES = (
    (
        CHEST,
        "Several bilateral hilar lymph nodes have SUV max ranging from {low} to {high} (for example slice {slice}).",
    ),
    (ABDOMEN, "Multiple mesenteric lymph nodes with SUV max between {low} and {high} (e.g. image {slice})."),
    (BONES, "Numerous osseous metastases throughout the spine, SUV max {low}-{high}, for instance on slice {slice}."),
)
_PAIRS = (
    (CHEST, "Left axillary and left supraclavicular lymph nodes show SUV max of {low} and {high} (slice {slice})."),
    (CHEST, "Two adjacent right upper lobe nodules with SUVmax {low} and {high} on slice {slice}."),
    (ABDOMEN, "Right and left external iliac lymph nodes with SUV max {low} and {high} respectively (image {slice})."),
)
_PRIORS = (
    (CHEST, "On the prior examination the right hilar lymph node had {suv} {at}; it has resolved."),
    (ABDOMEN, "The previously seen hepatic lesion, with prior {suv} {at}, is no longer visible."),
    (BONES, "At the time of the previous study the L3 lesion showed {suv} {at}."),
)
_PHANTOM_PLACES = (
    (ABDOMEN, "A {size} left adrenal nodule shows {suv} {at}."),
    (CHEST, "{avid} nodule in the left lower lobe with {suv} {at}."),
    (HEAD_NECK, "A {size} right level III cervical lymph node demonstrates {suv} {at}."),
    (BONES, "{avid} lesion of the left scapula with {suv} {at}."),
)


def faint_sentence(slice: int, suv: float, rng: Rng) -> Sentence:
    """A mention with a SUVmax under 2.5."""
    region, form = _FAINT[int(rng.integers(len(_FAINT)))]
    text = form.format(suv=suv_words(suv, rng), at=slice_words(slice, rng))
    return Sentence(region, text, (Claim(slice, suv, Outcome.SUV_TOO_LOW),))


def several_sentence(slice: int, low: float, high: float, as_range: bool, rng: Rng) -> Sentence:
    """Several lesions that share one slice, as a range or as a pair: neither number may become a lesion."""
    forms = _RANGES if as_range else _PAIRS
    region, form = forms[int(rng.integers(len(forms)))]
    text = form.format(low=f"{low:.1f}", high=f"{high:.1f}", slice=slice)
    return Sentence(region, text, tuple(Claim(slice, v, Outcome.SEVERAL_LESIONS) for v in (low, high)))


def prior_sentence(slice: int, suv: float, rng: Rng) -> Sentence:
    """Numbers that belong to an earlier exam only."""
    region, form = _PRIORS[int(rng.integers(len(_PRIORS)))]
    text = form.format(suv=suv_words(suv, rng), at=slice_words(slice, rng))
    return Sentence(region, text, (Claim(slice, suv, Outcome.NOT_CURRENT),))


def absent_sentence(slice: int, suv: float, tracer: str, outcome: Outcome, rng: Rng) -> Sentence:
    """A plain finding whose numbers the image does not hold (or whose slice does not exist)."""
    region, form = _PHANTOM_PLACES[int(rng.integers(len(_PHANTOM_PLACES)))]
    text = form.format(
        avid=upper_first(pick(rng, AVID[tracer])),
        suv=suv_words(suv, rng),
        at=slice_words(slice, rng),
        size=size_words((14, 11), rng),
    )
    return Sentence(region, upper_first(text), (Claim(slice, suv, outcome),))


def nowhere_sentence(seen: Seen, rng: Rng) -> Sentence:
    """A lesion that is in the image, in words that name no anatomy."""
    form = pick(
        rng,
        (
            "An additional focus of uptake has {} {}.",
            "There is another avid focus with {} {}.",
            "Further focal uptake, {} {}.",
        ),
    )
    text = form.format(suv_words(seen.suvmax, rng), slice_words(seen.slice, rng))
    return Sentence("Other", text, (Claim(seen.slice, seen.suvmax, Outcome.NO_ANATOMY, seen.lesion_id),))


def wrong_side_sentence(seen: Seen, tracer: str, rng: Rng) -> Sentence:
    """A lesion that is in the image, reported on the other side."""
    other = "left" if seen.site.side == "right" else "right"
    place = seen.site.location.replace(seen.site.side, other)
    avid, noun, suv = upper_first(pick(rng, AVID[tracer])), pick(rng, seen.site.nouns), suv_words(seen.suvmax, rng)
    text = f"{avid} {noun} in the {place} with {suv} (slice {seen.slice})."
    return Sentence(seen.site.region, text, (Claim(seen.slice, seen.suvmax, Outcome.WRONG_SIDE, seen.lesion_id),))


def twins_sentence(seen: Seen, tracer: str, rng: Rng) -> Sentence:
    """One of two lesions, left and right, that have the same SUVmax on the same slice; it does not say which."""
    place = seen.site.location.replace(f"{seen.site.side} ", "")
    avid, noun, suv = upper_first(pick(rng, AVID[tracer])), pick(rng, seen.site.nouns), suv_words(seen.suvmax, rng)
    text = f"{avid} {noun} in the {place} with {suv} (slice {seen.slice})."
    return Sentence(seen.site.region, text, (Claim(seen.slice, seen.suvmax, Outcome.AMBIGUOUS),))


_NORMAL = {
    HEAD_NECK: (
        "No {avid} cervical lymphadenopathy.",
        "Physiologic activity of the brain and salivary glands.",
        "The paranasal sinuses are clear.",
        "Symmetric tracer distribution in the brain without focal abnormality.",
    ),
    CHEST: (
        "No pleural or pericardial effusion.",
        "Mild coronary artery calcifications.",
        "No {avid} mediastinal lymphadenopathy otherwise.",
        "Scattered calcified granulomas are unchanged.",
        "A 3 mm right apical nodule (image 92) is too small to characterize by PET.",
    ),
    ABDOMEN: (
        "Physiologic bowel activity.",
        "Simple cyst of the left kidney measuring 2.3 cm.",
        "The gallbladder is unremarkable.",
        "No ascites.",
        "Tracer excretion in the collecting systems of both kidneys.",
        "Diverticulosis of the sigmoid colon.",
        "No additional {avid} abdominal lymphadenopathy.",
    ),
    BONES: (
        "Degenerative changes of the spine.",
        "No {avid} osseous lesion otherwise.",
        "Diffuse mild marrow activity, likely reactive.",
        "Degenerative uptake about both shoulders.",
    ),
}


def normal_sentences(region: str, tracer: str, rng: Rng) -> list[Sentence]:
    """One to three sentences without a finding."""
    forms = _NORMAL[region]
    chosen = sorted(int(n) for n in rng.choice(len(forms), size=int(rng.integers(1, 4)), replace=False))
    return [Sentence(region, forms[n].format(avid=AVID[tracer][0])) for n in chosen]


_HEADINGS = (
    {
        HEAD_NECK: "HEAD/NECK:",
        CHEST: "CHEST:",
        ABDOMEN: "ABDOMEN/PELVIS:",
        BONES: "MUSCULOSKELETAL:",
        "Other": "OTHER:",
    },
    {
        HEAD_NECK: "Head and neck:",
        CHEST: "Chest:",
        ABDOMEN: "Abdomen and pelvis:",
        BONES: "Bones and soft tissues:",
        "Other": "Other:",
    },
    {
        HEAD_NECK: "Head/Neck -",
        CHEST: "Thorax -",
        ABDOMEN: "Abdomen/Pelvis -",
        BONES: "Skeleton -",
        "Other": "Additional -",
    },
)


def write_findings(sentences: Sequence[Sentence], rng: Rng) -> str:
    """The findings section: sentences under their region's heading, some spaces after periods lost, as dictated."""
    headings = _HEADINGS[int(rng.integers(len(_HEADINGS)))]
    line_end = pick(rng, ("\n", "\n", "\n", "\n\n", "_x000D_\n"))
    lost_space = 0.0 if rng.random() < 0.3 else 0.25
    lines = []
    for region in (*REGIONS, "Other"):
        texts = [s.text for s in sentences if s.region == region]
        if not texts:
            continue
        line = headings[region]
        for n, text in enumerate(texts):
            line += ("" if n and rng.random() < lost_space else pick(rng, (" ", " ", "  "))) + text
        lines.append(line)
    return line_end.join(lines)


def write_impression(seen: Sequence[Seen], tracer: str, rng: Rng) -> str:
    """A numbered impression without slices."""
    items = []
    for lesion in list(seen)[:4]:
        trend = {"new": "New", "increased": "Progressing", "decreased": "Improving", "stable": "Stable", "none": ""}[
            lesion.comparison
        ]
        noun = pick(rng, lesion.site.nouns)
        items.append(
            upper_first(f"{trend} {AVID[tracer][0]} {lesion.site.adjective} {noun}, suspicious for malignancy.".strip())
        )
    items.append("No other evidence of disease.")
    return "\n".join(f"{n}. {item}" for n, item in enumerate(items, 1))
