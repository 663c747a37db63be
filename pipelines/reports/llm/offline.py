"""The first fill of a cohort as one offline job: questions as a file of OpenAI's batch format, answers taken back from
it (`vllm run-batch -i questions.jsonl -o answers.jsonl --model ...`).
"""

import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from pipelines.reports.llm.answers import AnswerCache
from pipelines.reports.llm.chat import key_of
from pipelines.reports.llm.llm_reader import LlmReader, room_of
from pipelines.reports.passages import Passage
from pipelines.tables.atomic import replacing


class BatchError(ValueError):
    """A file of answers is not as expected; the message names the file, the line and what to do."""


@dataclass(frozen=True)
class Taken:
    """What of a file of answers was kept, and how many were cut off, failed, or belong to no passage of the cohort."""

    kept: int = 0
    cut: int = 0
    failed: int = 0
    unknown: int = 0


def write_batch(reader: LlmReader, passages: Iterable[Passage], cache: AnswerCache, path: Path) -> int:
    """Writes a question a line for the passages that have no answer yet, equal ones once; says how many."""
    texts = {key_of(reader.server, reader.prompt, p.text): p.text for p in passages}
    known = cache.get(list(texts))
    asked = {key: text for key, text in texts.items() if key not in known}
    with replacing(path) as temporary, temporary.open("w", encoding="utf-8") as file:
        for key, text in asked.items():
            body = {
                "model": reader.server.model,
                "messages": reader.prompt.messages(text),
                "response_format": reader.prompt.response_format(),
                "max_tokens": min(room_of(text), reader.server.max_tokens),
                **reader.server.sampling,
            }
            line = {"custom_id": key, "method": "POST", "url": "/v1/chat/completions", "body": body}
            file.write(json.dumps(line) + "\n")
    return len(asked)


def take_batch(reader: LlmReader, passages: Iterable[Passage], cache: AnswerCache, path: Path) -> Taken:
    """Keeps the answers of a batch's output. What was cut off or failed is left to be asked by the next run.

    Raises:
        BatchError: a line is not of the batch format.
    """
    texts = {key_of(reader.server, reader.prompt, p.text): p.text for p in passages}
    kept = cut = failed = unknown = 0
    with path.open(encoding="utf-8") as file:
        for n, line in enumerate(file, start=1):
            try:
                answer = json.loads(line)
                key, response = answer["custom_id"], answer.get("response") or {}
                choice = ((response.get("body") or {}).get("choices") or [None])[0]
            except (ValueError, KeyError, TypeError, AttributeError) as error:
                raise BatchError(
                    f"expected an answer of OpenAI's batch format in line {n} of {path}, got another text: give the"
                    " output file of `vllm run-batch`"
                ) from error
            if key not in texts:
                unknown += 1
            elif choice is None or answer.get("error"):
                failed += 1
            elif choice.get("finish_reason") == "length":
                cut += 1
            else:
                content = choice["message"]["content"] or ""
                cache.put(key, reader.server.model, reader.prompt.version, texts[key], content)
                kept += 1
    return Taken(kept, cut, failed, unknown)
