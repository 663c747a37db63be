"""Every cue of `cues.toml` in every form of its category."""

import pytest

from pipelines.reports.rules.pairs import extract
from pipelines.reports.structure import structure
from pipelines.reports.vocabulary.vocabulary import package_vocabulary

CASES = [
    pytest.param(form, example, id=f"{category.name}-{n}-{example}")
    for category in package_vocabulary().cues.categories.values()
    for n, form in enumerate(category.forms)
    for example in category.examples
]


@pytest.mark.parametrize(("form", "cue"), CASES)
def test_cue_in_form(form, cue):
    text = form["text"].replace("{cue}", cue)
    text = text[0].upper() + text[1:]
    found, fields = extract(text), structure(text)
    got = {
        "reads": "; ".join(f"{lesion.slice}: {lesion.suvmax:g}" for lesion in found.lesions),
        "outcome": found.reason.value if found.reason else "accepted",
        **{name: getattr(fields, name) for name in ("region", "organ", "subsite", "laterality", "comparison")},
    }
    expected = {key: value for key, value in form.items() if key != "text"}
    assert {key: got[key] for key in expected} == expected


def test_no_prior_cue_of_any_form_leaves_the_prior_value_accepted():
    """The measured fault: a prior exam's value was accepted as this exam's."""
    cues = package_vocabulary().cues
    priors = cues.categories["prior"].examples
    assert {"screening", "original", "past", "old", "pre-treatment", "historical", "nadir", "c2d1"} <= set(priors)
    text = "On the pretreatment PET/CT, the right lower lobe mass had an SUVmax of 11.7 (slice 90)."
    assert extract(text).lesions == ()


def test_prior_word_that_speaks_of_the_lesion_keeps_this_exams_value():
    for text in (
        "The previously treated right lower lobe mass has an SUVmax of 5.2 (slice 90).",
        "Old healed rib fracture beside a right lower lobe mass with SUVmax 5.2 (slice 90).",
        "Original tumor bed in the right lower lobe with SUVmax 5.2 (slice 90).",
        "Right lower lobe mass with SUVmax 5.2 (slice 90), just outside of the pleura.",
        "Compared to the screening CT, the right lower lobe mass has an SUVmax of 5.2 (slice 90).",
    ):
        assert [(x.slice, x.suvmax) for x in extract(text).lesions] == [(90, 5.2)], text
