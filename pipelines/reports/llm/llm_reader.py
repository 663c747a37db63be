"""The reader that asks a language model on an OpenAI-compatible server, made for vLLM."""

from collections.abc import Sequence
from dataclasses import dataclass

from pipelines.reports.llm.answered_mentions import mentions_of, problem_of
from pipelines.reports.llm.chat import Asker, ask_all
from pipelines.reports.passages import Passage
from pipelines.reports.readers import Progress, Reading
from pipelines.tables.provenance import code_version

_TOKENS_ALONE = 64
_TOKENS_A_SENTENCE = 128
"""An answer's own, and those of a mention with all its fields (about 110 by the tokenizers of Mistral and Qwen)."""


def room_of(text: str) -> int:
    """Tokens that the answer about a passage may have: a full mention a line."""
    return _TOKENS_ALONE + _TOKENS_A_SENTENCE * len(text.splitlines())


@dataclass(frozen=True)
class LlmReader(Asker):
    """Reads by asking a model about each passage for JSON by schema, at temperature 0, with worked examples."""

    may_vote: bool = True

    @property
    def version(self) -> str:
        """What is asked, of which model, and the version of the code that reads its answers."""
        return f"{self.asked}/{code_version(__name__)}{self.vocabulary.suffix}"

    def read(self, passages: Sequence[Passage], progress: Progress | None = None) -> list[Reading]:
        """One reading a passage, in the order of the passages; a failed one has its `error`. Answers are cached as they
        come.
        """
        version = self.version
        out = []
        texts = [p.text for p in passages]
        answers = ask_all(
            self.server, self.prompt, texts, self.cache, problem_of, name=self.name, progress=progress, room=room_of
        )
        for passage, answer in zip(passages, answers, strict=True):
            ids = tuple(s.sentence_id for s in passage.sentences)
            mentions = () if answer.text is None else mentions_of(passage, answer.text, self.vocabulary)
            error = None if answer.error is None else f"exam {passage.exam_id}: {answer.error}"
            out.append(Reading(passage.passage_id, ids, self.name, version, mentions, error, answer.raw))
        return out
