"""A prompt file as messages of a chat. The version is the file's name with a hash of its content, so an edit always
asks anew.
"""

import json
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path
from typing import Any

PROMPTS_FOLDER = Path(__file__).parent / "prompts"


class PromptError(ValueError):
    """A prompt file is not there or not as expected; the message names the file."""


@dataclass(frozen=True)
class Prompt:
    """Instructions, worked examples and the JSON schema of the answer.

    `version` is what answers are cached by. `examples` are (text, answer as JSON).
    """

    name: str
    version: str
    instructions: str
    examples: tuple[tuple[str, str], ...]
    schema: Mapping[str, Any]

    @property
    def schema_text(self) -> str:
        """The schema as canonical JSON, for keys."""
        return json.dumps(self.schema, sort_keys=True)

    def messages(self, text: str) -> list[dict[str, str]]:
        """The chat that asks about one text. The instructions open the first turn of the user: not every model's
        template has a system role.
        """
        turns: list[dict[str, str]] = []
        for question, answer in self.examples:
            turns += [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]
        turns.append({"role": "user", "content": text})
        turns[0] = {"role": "user", "content": f"{self.instructions}\n\n{turns[0]['content']}"}
        return turns

    def response_format(self) -> dict[str, Any]:
        """The `response_format` of an OpenAI-compatible server that makes it answer by the schema."""
        name = "".join(c if c.isalnum() or c in "-_" else "_" for c in self.name)
        return {"type": "json_schema", "json_schema": {"name": name, "schema": dict(self.schema), "strict": True}}


def load_prompt(name: str, folder: Path = PROMPTS_FOLDER) -> Prompt:
    """The prompt in `<folder>/<name>.toml`; a name that is a path to a .toml file is that file.

    Raises:
        PromptError: the file is not there, is no TOML, or lacks `instructions`, `schema` or an example's `text` and
            `answer`.
    """
    path = Path(name) if name.endswith(".toml") else folder / f"{name}.toml"
    if not path.is_file():
        known = ", ".join(sorted(p.stem for p in folder.glob("*.toml")))
        raise PromptError(
            f"expected a prompt file, got {path}, which is not there: name one of {known or 'none'}, or a path to a"
            " .toml file"
        )
    data = path.read_bytes()
    try:
        content = tomllib.loads(data.decode("utf-8"))
        instructions = str(content["instructions"]).strip()
        schema = json.loads(content["schema"])
        examples = tuple((str(e["text"]), json.dumps(e["answer"])) for e in _with_nulls(content.get("examples", [])))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, KeyError, TypeError, ValueError) as error:
        raise PromptError(
            f"expected instructions, schema (JSON) and [[examples]] with text and answer in {path}, got {error!r}:"
            " correct the file"
        ) from error
    return Prompt(path.stem, f"{path.stem}@{blake2b(data, digest_size=4).hexdigest()}", instructions, examples, schema)


def _with_nulls(examples: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Examples whose answers say null where the file says "null": TOML has no null."""
    return [
        {
            **e,
            "answer": {k: None if v == "null" else v for k, v in e["answer"].items()}
            if isinstance(e["answer"], dict)
            else e["answer"],
        }
        for e in examples
    ]
