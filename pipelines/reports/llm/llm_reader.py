"""The reader that asks a language model on an OpenAI-compatible server, made for vLLM."""

from collections.abc import Sequence
from dataclasses import dataclass

from pipelines.reports.llm.answered_mentions import mentions_of, problem_of
from pipelines.reports.llm.chat import Asker
from pipelines.reports.passages import Passage
from pipelines.reports.readers import Progress, Reading
from pipelines.tables.provenance import code_version


@dataclass(frozen=True)
class LlmReader(Asker):
    """Reads by asking a model about each passage for JSON by schema, at temperature 0, with worked examples."""

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
        for passage, answer in zip(passages, self.ask([p.text for p in passages], problem_of, progress), strict=True):
            ids = tuple(s.sentence_id for s in passage.sentences)
            mentions = () if answer.text is None else mentions_of(passage, answer.text, self.vocabulary)
            error = None if answer.error is None else f"exam {passage.exam_id}: {answer.error}"
            out.append(Reading(passage.passage_id, ids, self.name, version, mentions, error, answer.raw))
        return out
