"""Assign each SUV and slice its context: this exam, a prior one, a reference region, or one end of a range.

A rule is a category of `cues.toml` with its direction and scope, applied to the text before or behind the value.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

from pipelines.reports.rules.number_kinds import Number, SuvWord, spaces
from pipelines.reports.rules.values import Role, SliceNumber, SuvValue
from pipelines.reports.vocabulary.cues import Cues

Governed = tuple[Number, SuvWord | None]
"""A number with the word that governs it; null in a list without any."""

_REACH = 60
"""Characters before a value that can make it a range's, and behind a slice that can make it a prior exam's."""
_REACH_OF_WORD = 40
"""Characters before a word for the SUV that can name its exam."""
_FIRST_CLAUSE = re.compile(r"[,;()\[\]]|\.\s")
_LATER_CLAUSE = re.compile(r"[,;()\[\]]|\.\s|\b(?:and|but)\b")
_ASIDE = re.compile(r"\s*[(\[](?P<words>[^()\[\]\d]{1,40})[)\]]")
_ARROW = re.compile(r"\s*(?:→|->|=>|-->)\s*$")
_BETWEEN_JOIN = re.compile(r"\s*(?:and|to|-)\s*")
_MORE_NUMBERS = re.compile(r"(?:\s*+(?:,|;|/|and|&|then|to)*+\s*+\d++(?:\.\d++)?+)++(?!\.)")
_CLOSES = re.compile(r"\s*\)")


@dataclass(frozen=True)
class _Around:
    """A value that a word governs, and the text around it that can say which exam or region it is of.

    `before` reaches back to the number (SUV or slice) before it; the SUV before that ends at `value_before` (0 where
    there is none). `after` reaches to the next number; `meets_value` is true where that is an SUV.
    """

    cues: Cues
    text: str
    governed: Sequence[Governed]
    i: int
    left: int
    right: int
    next_value: int

    @property
    def number(self) -> Number:
        return self.governed[self.i][0]

    @property
    def word(self) -> SuvWord | None:
        return self.governed[self.i][1]

    @property
    def is_first(self) -> bool:
        return self.i == 0

    @property
    def value_before(self) -> int:
        return self.governed[self.i - 1][0].end if self.i else 0

    @property
    def meets_value(self) -> bool:
        return self.right == self.next_value and self.right < len(self.text)

    @property
    def meets_end(self) -> bool:
        """Whether no other value follows."""
        return self.next_value == len(self.text)

    @cached_property
    def before(self) -> str:
        return self.text[self.left : self.number.start]

    @cached_property
    def after(self) -> str:
        return self.text[self.number.end : self.right]

    @cached_property
    def clause(self) -> str:
        """`before` from the last comma or parenthesis on."""
        return (_LATER_CLAUSE if self.left else _FIRST_CLAUSE).split(self.before)[-1]

    @property
    def tail(self) -> int:
        """Where what follows the value begins: of "8.0 SUV max on the last exam" behind the word."""
        word = self.word
        is_behind = word is not None and word.start >= self.number.end and word.end <= self.right
        return word.end if word is not None and is_behind else self.number.end

    @cached_property
    def own_after(self) -> str:
        """`after` up to the end of the value's own clause."""
        return _own_after(self.cues, self.text[self.tail : self.right], self.before, meets_value=self.meets_value)

    @cached_property
    def beyond(self) -> str:
        """What follows a slice right behind the value."""
        reference = self.cues["slice_reference"].match(self.text, self.tail)
        if reference is None or reference.end() > self.next_value:
            return ""
        meets_value = self.next_value < len(self.text)
        return _own_after(self.cues, self.text[reference.end() : self.next_value], "", meets_value=meets_value)

    @cached_property
    def aside(self) -> str:
        """What a parenthesis right behind the value says: "4.2 (today)"."""
        match = _ASIDE.match(self.text, self.number.end)
        return match["words"] if match is not None else ""

    @cached_property
    def outside(self) -> str:
        """What stands before the parenthesis that the value is in: "compared to 3.0 cm (slice 85, SUV 8.0)"."""
        left, start = self.value_before, self.number.start
        opened = self.text.rfind("(", left, start)
        return self.text[left:opened] if opened > self.text.rfind(")", left, start) else ""

    def says_before(self, *categories: str) -> bool:
        return any(self.cues[name].search(self.before) for name in categories)

    def says_outside(self, *categories: str) -> bool:
        outside = self.outside.rstrip("\x00 ")
        return bool(outside) and any(self.cues[name].search(outside) for name in categories)

    def says_after(self, category: str) -> bool:
        """Whether a cue stands behind the value, in the parenthesis there, or behind its slice."""
        pattern = self.cues[category]
        return any(pattern.match(text) for text in (self.own_after, self.beyond, self.aside) if text)

    @property
    def is_now(self) -> bool:
        pattern = self.cues["current_after"]
        return bool(pattern.match(self.own_after) or pattern.match(self.aside))

    @property
    def is_second_of_pair(self) -> bool:
        """Whether it is the 2.1 of "SUV max/mean 4.2/2.1"."""
        if self.word is None or self.is_first or self.governed[self.i - 1][1] is not self.word:
            return False
        return self.text[self.value_before : self.number.start].strip() == "/"

    @property
    def measure(self) -> str:
        if self.word is None:
            return ""
        return self.word.second if self.is_second_of_pair and self.word.second else self.word.measure


def _around(cues: Cues, text: str, governed: Sequence[Governed], slices: Sequence[SliceNumber], i: int) -> _Around:
    number = governed[i][0]
    spans = [(s.start, s.end) for s in slices] + [(n.start, n.end) for n, _ in governed]
    left = max((e for _, e in spans if e <= number.start), default=0)
    right = min((s for s, _ in spans if s >= number.end), default=len(text))
    next_value = governed[i + 1][0].start if i + 1 < len(governed) else len(text)
    return _Around(cues, text, governed, i, left, right, next_value)


def _own_after(cues: Cues, after: str, before: str, *, meets_value: bool) -> str:
    """What follows a value and speaks of it: up to the next clause, and without words that lead on to the next value.

    "15 previously, 12 now" gives " previously" for the 15; of "6.5 previously 8.8" the 6.5 gets nothing.
    """
    closes = _CLOSES.match(after) if before.rfind("(") > before.rfind(")") else None
    begin = closes.end() if closes else 0
    parted = cues["clause_end"].search(after, begin)
    own = after[: parted.start()] if parted else after
    if meets_value and parted is None:
        cue = cues["prior_or_present"].search(own)
        if cue is not None and cues["gap_alone"].match(own, cue.end()):
            return own[: cue.start()]
    return own


# --- SUV values ------------------------------------------------------------------------------------------------------


def suv_roles(text: str, governed: Sequence[Governed], slices: Sequence[SliceNumber], cues: Cues) -> list[SuvValue]:
    """The numbers that SUV words govern, each with its role.

    Args:
        governed: in reading order.
    """
    if not governed:
        return []
    # "avid as previously with SUV 4.2": the cue compares, and the number is not the prior exam's.
    told = cues["as_before"].sub(spaces, text)
    # "has increased from prior (SUV 4.2)": a first value is this exam's, where a later one is what it is compared with.
    first_told = cues["since_prior"].sub(spaces, told)
    around = [_around(cues, told if i else first_told, governed, slices, i) for i in range(len(governed))]
    values = [SuvValue(at.number.value, at.number.start, at.number.end, _role(at)) for at in around]
    pairs = list(zip(values, around, strict=True))
    loose = [v.role is Role.CURRENT and not at.is_now and _may_be_prior(at) for v, at in pairs]
    is_now = [at.is_now or (at.says_before("present") and not at.says_before("prior_before")) for at in around]
    _mark_ranges(text, values, cues)
    if any(v.role is Role.CURRENT and not is_loose for v, is_loose in zip(values, loose, strict=True)):
        for i, value in enumerate(values):
            if value.role is Role.CURRENT and loose[i] and not is_now[i]:
                values[i] = replace(value, role=Role.PRIOR)
    _mark_before_now(values, is_now, slices)
    is_of_none = (
        values[0].role is Role.REFERENCE and len(values) > 1 and not any(v.role is Role.CURRENT for v in values)
    )
    if is_of_none and cues["lesion"].search(text[: values[0].start]):
        # Every value seems to be a reference's, but a lesion is named before the first.
        values[0] = replace(values[0], role=Role.CURRENT)
    return values


def _mark_before_now(values: list[SuvValue], is_now: Sequence[bool], slices: Sequence[SliceNumber]) -> None:
    """Where one value is "now" and there is one slice, the values before it are a prior exam's."""
    current = [i for i, v in enumerate(values) if v.role is Role.CURRENT]
    now = [i for i in current if is_now[i]]
    if len(now) != 1 or sum(s.role is Role.CURRENT for s in slices) != 1:
        return
    for i in current:
        if i < now[0]:
            values[i] = replace(values[i], role=Role.PRIOR)


def _mark_ranges(text: str, values: list[SuvValue], cues: Cues) -> None:
    """Turns "2.7 to 3.1", "2.7-3.1" and "between 2.7 and 3.1" into ranges.

    "from 8.8 to 6.5" behind a word of change is none.
    """
    for i in range(len(values) - 1):
        joined = text[values[i].end : values[i + 1].start]
        before = text[max(0, values[i].start - _REACH) : values[i].start]
        is_range = cues["range_join"].fullmatch(joined) is not None and values[i].role is not Role.PRIOR
        if is_range and "to" in joined and values[i].value > values[i + 1].value and values[i + 1].role is Role.CURRENT:
            # No range falls: "less avid (SUVmax 14.1 to 5.0)" is a change.
            values[i] = replace(values[i], role=Role.PRIOR)
            continue
        is_between = _BETWEEN_JOIN.fullmatch(joined) is not None and cues["range_before"].search(before) is not None
        if (is_range or is_between) and values[i + 1].role in (Role.CURRENT, Role.RANGE):
            values[i] = replace(values[i], role=Role.RANGE)
            values[i + 1] = replace(values[i + 1], role=Role.RANGE)


def _role(at: _Around) -> Role:
    if at.measure in ("mean", "peak", "min", "sul") or _is_second_in_parentheses(at) or _is_second_measure(at):
        return Role.OTHER_MEASURE
    if at.says_before("other_measure_before"):
        return Role.OTHER_MEASURE
    if _is_corrected(at):
        return Role.CORRECTED
    if at.says_before("range_end_before"):
        return Role.RANGE
    if at.word is not None and at.says_before("bound_before") and not at.says_before("reference"):
        return Role.BOUND
    if _is_reference(at):
        return Role.REFERENCE
    if at.is_now:
        return Role.CURRENT
    if at.is_first and at.says_before("from_before"):
        changes = _is_change(at) and not at.says_before("range_before")
        if not changes:
            return Role.RANGE if _next_joins(at) else Role.CURRENT
    return Role.PRIOR if _is_prior(at) else Role.CURRENT


def _is_change(at: _Around) -> bool:
    """Whether a word before the two values, or the verb right behind them, tells of a change."""
    if at.cues["change"].search(at.text, 0, at.number.start):
        return True
    behind = at.governed[min(at.i + 1, len(at.governed) - 1)][0].end
    return any(m.start() <= behind + 1 for m in _first(at.cues, at.text, behind))


def _first(cues: Cues, text: str, position: int) -> Iterator[re.Match[str]]:
    found = (cues[name].search(text, position, position + _REACH) for name in ("increased", "decreased"))
    return (m for m in found if m is not None)


def _is_second_in_parentheses(at: _Around) -> bool:
    """Whether a value stands alone in parentheses right behind another, as the 2.2 of "SUV 3.6 (2.2)"; whatever it is,
    the first is the finding's.
    """
    is_alone = at.before.strip() == "(" and at.text.startswith(")", at.number.end)
    return is_alone and not at.is_first and not at.number.is_integer


def _is_second_measure(at: _Around) -> bool:
    """Whether it is the 3.1 of "SUVmax 5.2/3.1", which gives the lower measure of the same lesion behind the higher."""
    return at.is_second_of_pair and at.number.value < at.governed[at.i - 1][0].value


def _is_corrected(at: _Around) -> bool:
    """Whether another value is said to stand in its place."""
    if at.says_before("not_this_before"):
        return not at.is_first
    if at.meets_end:
        return False
    return at.cues["corrects"].search(at.text, at.number.end, at.next_value) is not None


def _next_joins(at: _Around) -> bool:
    if at.meets_end:
        return False
    return at.cues["range_join"].fullmatch(at.text[at.number.end : at.next_value]) is not None


def _is_prior(at: _Around) -> bool:
    """Whether the words around a value say for certain that it is a prior exam's."""
    if at.says_before("prior_before", "when_before") or at.says_after("prior_after") or _has_prior_lead(at):
        return True
    if at.says_outside("on_prior_before_parenthesis"):
        return True
    # "The lesion showed an SUVmax of 8.8 in June."
    if at.says_before("past_before") and at.says_after("date_after"):
        return True
    # "from 1.2 cm, SUVmax 8.8, to 0.8 cm with SUVmax 3.1"
    if at.meets_value and at.says_before("from_before_with_size") and at.cues["to_size"].fullmatch(at.after):
        return True
    if _has_prior_word(at):
        return True
    if (at.meets_value and _ARROW.match(at.after)) or _is_gone(at):
        return True
    return not at.is_first and _later_is_prior(at)


def _has_prior_word(at: _Around) -> bool:
    """Whether the value's own word is said to be of a prior exam, and the value is the first behind it."""
    word = at.word
    if word is None or at.number.start < word.end or (not at.is_first and at.governed[at.i - 1][1] is word):
        return False
    return at.cues["prior_word"].search(at.text, max(0, word.start - _REACH_OF_WORD), word.start) is not None


def _later_is_prior(at: _Around) -> bool:
    """Whether a value that has another one before it is a prior exam's."""
    if at.says_outside("prior_before", "prior_before_with_exam"):
        return True
    # "SUVmax 4.9, stable (5.0)"
    if at.before.rstrip().endswith("(") and at.says_outside("change_before_parenthesis"):
        return True
    if at.cues["prior_slice_leads"].search(at.text, 0, at.number.start) or _in_prior_list(at):
        return True
    return at.says_before("was_before", "prior_before_with_exam", "dated_parenthesis")


def _may_be_prior(at: _Around) -> bool:
    """Whether a value is a prior exam's where another one is surely this exam's."""
    if at.cues["prior_anywhere"].search(at.clause) or at.says_after("date_after"):
        return True
    return at.says_before("prior_before_with_exam", "prior_before_with_size")


def _is_gone(at: _Around) -> bool:
    """Whether a text tells of a lesion that was there before and is no more, and gives its value in between."""
    before = at.text[at.text.rfind(". ", 0, at.number.start) + 1 : at.number.start]
    after = at.text[at.number.end :].split(". ", maxsplit=1)[0]
    opens = at.cues["gone_before"].search(before)
    if opens is not None and not at.cues["still_there"].search(before) and not at.is_now:
        return True
    if at.cues["gone_after"].match(after) or any(
        at.cues[x].search(before) for x in ("gone_then_past", "gone_parenthesis")
    ):
        return True
    is_alone = len(at.governed) == 1
    return is_alone and bool(at.cues["seen_before"].search(before) and at.cues["no_more"].search(after))


def _in_prior_list(at: _Around) -> bool:
    """Whether a value is one of several in a parenthesis that closes with the prior exam: "(13.5, 15.2 on prior
    exams)".
    """
    if at.text.rfind("(", 0, at.number.start) <= at.text.rfind(")", 0, at.number.start):
        return False
    more = _MORE_NUMBERS.match(at.text, at.number.end)
    return more is not None and at.cues["prior_after"].match(at.text, more.end()) is not None


def _has_prior_lead(at: _Around) -> bool:
    """Whether the sentence, or what follows a semicolon or opens a parenthesis, begins by naming the prior exam and
    leads to a number.
    """
    before, left_limit, cues = at.text[: at.number.start], at.value_before, at.cues
    cut = max(before.rfind(". "), before.rfind(";"), before.rfind("("), before.rfind("\n"))
    if cut < left_limit - 1 and left_limit > 0:
        return False
    begin = max([m.end() for m in cues["sentence_end"].finditer(before, left_limit)], default=left_limit)
    told = cues["on_prior_exam"].match(before, begin) or cues["prior_exam_showed"].match(before, begin)
    if told is not None and not cues["present_tense"].search(told["rest"]):
        return True
    if not at.meets_end and cues["compared_exam_leads"].match(before, begin):
        return True
    lead = before[cut + 1 :]
    return any(
        cues[name].match(lead) for name in ("prior_leads", "prior_exam_leads", "previously_leads", "prior_size_leads")
    )


# --- reference regions -----------------------------------------------------------------------------------------------


def _is_reference(at: _Around) -> bool:
    """Whether a value is a reference region's, or the other side's."""
    cues, before = at.cues, at.before
    if cues["reference_after"].match(at.own_after):
        return True
    # "... above the blood pool (SUV 1.9)": what stands in the parenthesis is the reference's own.
    if at.says_before("reference_before_parenthesis") and at.says_before("compares"):
        return True
    strong = [m for m in cues["reference"].finditer(at.clause)]
    if not strong and not at.is_first:
        strong = [m for m in cues["reference_uptake"].finditer(at.clause)]
    if strong and not cues["lesion"].search(at.clause, strong[-1].end()):
        # "SUVmax of normal liver 2.9"
        is_named = at.word is not None and at.word.end <= at.number.start - len(at.clause) + strong[-1].start()
        # "uptake above the blood pool with SUV 6.5": the SUV is the uptake's, so a first value needs a clause about
        # the reference alone.
        is_lesions = (
            at.is_first
            and not is_named
            and (cues["lesion"].search(before) or cues["compares"].search(before[: before.rfind(strong[0][0])]))
        )
        if not is_lesions:
            return True
    elif not at.is_first and _is_compared_region(at):
        return True
    return _first_is_regions(at) if at.is_first else _later_is_regions(at)


def _is_compared_region(at: _Around) -> bool:
    compared = at.cues["compares_region"].search(at.before)
    if compared is None or re.search(r"\bprior|\bprevious", at.before):
        return False
    # "whereas a right level III node has SUV max of 6.7 on slice 55" is a lesion with a slice of its own.
    is_lesion = at.cues["lesion"].search(at.before, compared.start()) is not None
    return not (is_lesion and at.cues["slice_follows"].match(at.after))


def _first_is_regions(at: _Around) -> bool:
    """ "Mean liver SUV 2.4; residual mass SUVmax 5.9" """
    leads = at.meets_value and at.cues["region_leads"].fullmatch(at.before) is not None
    return leads and at.cues["lesion"].search(at.text) is not None


def _later_is_regions(at: _Around) -> bool:
    cues = at.cues
    region = cues["region_before"].search(at.before)
    # A spleen or a muscle with a slice of its own may be a finding; the liver and the blood pool beside one are not.
    if region is not None and (region["usual"] or not cues["slice_follows"].match(at.after)):
        return True
    if at.says_before("compares") and cues["region_after"].match(at.own_after):
        return True
    # "uptake less than liver (SUVmax 2.9 vs 3.3)"
    is_versus = cues["versus"].fullmatch(at.before) is not None
    if is_versus and cues["compares_region"].search(at.text[: at.governed[0][0].start]):
        return True
    return _is_other_side(at)


def _is_other_side(at: _Around) -> bool:
    """Whether a value is of the same organ on the other side, and no lesion's: "asymmetric uptake in the left vocal
    cord (SUVmax 4.9, image 70), right vocal cord SUVmax 2.1".
    """
    match = at.cues["other_side_before"].search(at.before)
    if match is None or "asymmetr" not in at.text or at.cues["lesion"].search(match["organ"]):
        return False
    if at.cues["slice_follows"].match(at.after):
        return False
    other = "right" if match["side"] == "left" else "left"
    organ = r"\s+".join(match["organ"].split())
    return re.search(rf"\b{other}\s+{organ}\b", at.text[: at.left]) is not None


# --- slices ----------------------------------------------------------------------------------------------------------


def slice_roles(text: str, slices: Sequence[SliceNumber], suvs: Sequence[SuvValue], cues: Cues) -> list[SliceNumber]:
    """The slices, those of a prior exam or of another value told apart from the finding's."""
    done: list[SliceNumber] = []
    bound: list[int] = []
    for i, item in enumerate(slices):
        left = max([s.end for s in slices[:i]] + [v.end for v in suvs if v.end <= item.start], default=0)
        before = text[left : item.start]
        next_value = min((v.start for v in suvs if v.start >= item.end), default=len(text))
        after = text[item.end : min(next_value, item.end + _REACH)]
        meets_value = item.end + len(after) == next_value
        if item.role is Role.CURRENT and _is_prior_slice(cues, before, after, meets_value=meets_value):
            item = replace(item, role=Role.PRIOR)
        owner = next((v for v in reversed(suvs) if v.end <= item.start), None)
        is_of_another = owner is not None and owner.end == left and owner.role in (Role.PRIOR, Role.REFERENCE)
        if owner is not None and is_of_another and item.role is Role.CURRENT and cues["on_slice"].fullmatch(before):
            # "(previously 8.8 on slice 40)": the slice is that value's. "previously 8.8 (slice 40)" is left open.
            item = replace(item, role=Role.PRIOR)
            if "(" not in text[text.rfind(")", 0, owner.start) + 1 : owner.start]:
                bound.append(i)
        if owner is not None and owner.role is Role.PRIOR and _is_nested(text, owner, item, suvs):
            item = replace(item, role=Role.PRIOR)
        done.append(item)
    if bound and not any(s.role is Role.CURRENT for s in done):
        # "4.2 versus 4.3 on slice 88": the only slice is the finding's, and so are as many as there are findings.
        n_current = sum(v.role is Role.CURRENT for v in suvs)
        for i in bound if len(bound) == n_current else bound[-1:]:
            done[i] = replace(done[i], role=Role.CURRENT)
    return done


def _is_nested(text: str, owner: SuvValue, item: SliceNumber, suvs: Sequence[SuvValue]) -> bool:
    """Whether a slice stands in parentheses within those of its value: "4.2 (previously 8.8 (slice 40))"."""
    left = max((v.end for v in suvs if v.end <= owner.start), default=0)
    outer = text[left : owner.start]
    between = text[owner.end : item.start]
    return outer.count("(") > outer.count(")") and "(" in between and ")" not in between


def _is_prior_slice(cues: Cues, before: str, after: str, *, meets_value: bool) -> bool:
    word = cues["slice_before"].search(before) or cues["series_before"].search(before)
    lead = cues["slice_lead"].sub(" ", before[: word.start()] if word else before)
    own_after = cues["slice_clause_end"].split(after, maxsplit=1)[0]
    if meets_value and own_after == after:
        own_after = _own_after(cues, after, "", meets_value=meets_value)
    return cues["prior_slice_before"].search(lead) is not None or cues["prior_after"].match(own_after) is not None
