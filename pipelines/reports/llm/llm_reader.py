"""The reader that asks a language model on an OpenAI-compatible server, made for vLLM."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from pipelines.reports.llm.answer_format import object_problem, short
from pipelines.reports.llm.chat import Answer, Asker
from pipelines.reports.readers import Progress, Reading
from pipelines.reports.rules.pairs import extract
from pipelines.reports.sentences import Sentence
from pipelines.tables.provenance import code_version


@dataclass(frozen=True)
class LlmReader(Asker):
    """Reads by asking a model for JSON by schema, at temperature 0, with worked examples.

    A sentence that names several lesions, each with its own words, is asked about part by part, so that its votes count
    for each lesion.
    """

    @property
    def version(self) -> str:
        """What is asked, of which model, and the version of the code that reads its answers."""
        return f"{self.asked}/{code_version(__name__)}{self.vocabulary.suffix}"

    def read(self, sentences: Sequence[Sentence], progress: Progress | None = None) -> list[Reading]:
        """One reading a sentence, in the order of the sentences; a failed one has its `error`. Answers are cached as
        they come.
        """
        parts = [self._parts(s.sentence) for s in sentences]
        answers = iter(self.ask([text for own in parts for text in own], problem_of, progress))
        return [self._reading(s, [next(answers) for _ in own]) for s, own in zip(sentences, parts, strict=True)]

    def _parts(self, text: str) -> list[str]:
        """The texts to ask about: the parts of a sentence that can be cut between its lesions, else the sentence."""
        lesions = extract(text, self.vocabulary).lesions
        spans = {(x.start, x.end) for x in lesions}
        if len(lesions) > 1 and len(spans) == len(lesions):
            return [text[x.start : x.end] for x in lesions]
        return [text]

    def _reading(self, sentence: Sentence, answers: Sequence[Answer]) -> Reading:
        made = partial(Reading, sentence.sentence_id, self.name, self.version)
        failed = next((a for a in answers if a.error is not None), None)
        if failed is not None:
            return made(None, None, None, None, f"exam {sentence.exam_id}: {failed.error}", failed.raw)
        values = [_values(a.text or "") for a in answers]
        if len(values) == 1:
            v = values[0]
            return made(v["slice"], v["suvmax"], v["n_lesions"], v["is_current"], None, answers[0].raw)
        lesions = [
            {"slice": v["slice"], "suvmax": v["suvmax"]}
            for v in values
            if v["slice"] is not None and v["suvmax"] is not None
        ]
        answer = json.dumps({"lesions": lesions, "answers": [a.raw for a in answers]})
        return made(None, None, len(values), any(v["is_current"] for v in values), None, answer)


def problem_of(answer: str) -> str | None:
    """What keeps an answer from being a reading, null where nothing does."""
    problem = object_problem(answer, ("slice", "suvmax", "n_lesions", "is_current"))
    if problem is not None:
        return problem
    values = json.loads(answer)
    shown = short(answer)
    numbers = (values["slice"], values["suvmax"], values["n_lesions"])
    if any(isinstance(n, bool) or not isinstance(n, int | float | None) for n in numbers):
        return f"expected numbers or null for slice, suvmax and n_lesions, the model answered {shown!r}"
    if values["slice"] is not None and values["slice"] != int(values["slice"]):
        return f"expected a whole number for slice, the model answered {shown!r}"
    if values["n_lesions"] is None or not isinstance(values["is_current"], bool):
        return f"expected a count for n_lesions and true or false for is_current, the model answered {shown!r}"
    return None


def _values(answer: str) -> dict[str, Any]:
    values = json.loads(answer)
    number, suvmax = values["slice"], values["suvmax"]
    # Zero is how models say "none" where they dislike null.
    return {
        "slice": int(number) if number is not None and number > 0 else None,
        "suvmax": float(suvmax) if suvmax is not None and suvmax > 0 else None,
        "n_lesions": max(0, int(values["n_lesions"])),
        "is_current": values["is_current"],
    }
