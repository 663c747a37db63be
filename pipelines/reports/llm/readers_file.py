"""Which readers read, and where their models are: one TOML file."""

import importlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import StringConstraints, model_validator

from pipelines.reports.llm.answers import AnswerCache
from pipelines.reports.llm.llm_reader import LlmReader
from pipelines.reports.llm.prompting import Prompt, PromptError, load_prompt
from pipelines.reports.llm.servers import ServerSettings
from pipelines.reports.readers import Reader, RulesReader
from pipelines.reports.vocabulary.vocabulary import Vocabulary, package_vocabulary
from pipelines.settings import (
    Flag,
    Positive,
    Requests,
    Settings,
    SettingsError,
    Timeout,
    Tries,
    parse,
    validated,
)
from pipelines.tables.errors import reason_of
from pipelines.tables.safe_text import error_reason

DEFAULT_FILE = Path(__file__).parent / "readers.toml"


class ReadersError(ValueError):
    """The readers' file is not as expected; the message names the file, the reader and what to write."""


class ReaderEntry(Settings):
    """One [[reader]] of the file: who it is, and the server of a language model. What a server's field leaves out has
    the default of `ServerSettings`."""

    name: Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.\-]*$")]
    kind: Literal["rules", "llm", "python"]
    enabled: Flag = True
    may_vote: Flag = True
    prompt: str = "passage-v1"
    api_key_env: str = ""
    model: str = ""
    factory: Annotated[str, StringConstraints(pattern=r"^([A-Za-z_][\w.]*:[A-Za-z_]\w*)?$")] = ""
    base_url: str | tuple[str, ...] | None = None
    concurrency: Requests | None = None
    timeout_s: Timeout | None = None
    max_retries: Tries | None = None
    max_tokens: Positive | None = None
    give_up_after: Requests | None = None
    extra: dict[str, Any] | None = None

    @model_validator(mode="after")
    def _names_its_model(self) -> Self:
        if self.kind == "llm" and self.enabled and not self.model:
            raise ValueError(f"expected the model's name for reader {self.name!r}, got none (add model)")
        if self.kind == "python" and self.enabled and not (self.factory and self.model):
            raise ValueError(
                f"expected what makes reader {self.name!r} and of which folder, got factory {self.factory!r} and model"
                f" {self.model!r} (add factory = 'module:function' and model)"
            )
        return self


class ReadersFile(Settings):
    """The file of readers as it is written."""

    reader: tuple[ReaderEntry, ...] = ()


@dataclass(frozen=True)
class ReadersConfig:
    """The readers that are enabled, and the words that reports are cut, read and structured with."""

    readers: tuple[Reader, ...]
    vocabulary: Vocabulary = field(default_factory=package_vocabulary)


def load_readers(
    path: Path | None = None,
    *,
    cache: AnswerCache | None = None,
    environment: Mapping[str, str] | None = None,
    vocabulary: Vocabulary | None = None,
    servers: Mapping[str, tuple[str, ...]] | None = None,
) -> ReadersConfig:
    """Readers of a TOML file; without a path, of the file that comes with the package (rules alone).

    Args:
        cache: where the answers of language models are kept.
        environment: looked up for `base_url`s and keys: PETAR_VLLM_URL, where set, replaces the base_url of readers
            that give none.
        vocabulary: the words that reports are read with; by default the package's.
        servers: addresses of each model's servers, of readers that give no base_url, where PETAR_VLLM_URL is not set.

    Raises:
        ReadersError: the file is not there, is no TOML, names an unknown key or kind, or enables no reader.
    """
    path = path or DEFAULT_FILE
    environment = environment or {}
    words = vocabulary or package_vocabulary()
    try:
        file = validated(ReadersFile, parse(path.read_bytes().decode("utf-8"), str(path)), str(path))
    except OSError as error:
        raise ReadersError(
            f"expected a file of readers, got {path}, which cannot be read ({error_reason(error)}): correct the path"
        ) from error
    except UnicodeDecodeError as error:
        raise ReadersError(f"expected TOML in {path}, got {error_reason(error)}: correct the file") from error
    except SettingsError as error:
        raise ReadersError(str(error)) from error
    readers: list[Reader] = []
    for entry in file.reader:
        if sum(other.name == entry.name for other in file.reader) > 1:
            raise ReadersError(f"expected one reader named {entry.name!r} in {path}, got two: give each its own name")
        if not entry.enabled:
            continue
        if entry.kind == "rules":
            readers.append(RulesReader(entry.name, words))
        elif entry.kind == "python":
            readers.append(_made(entry, path, words))
        else:
            readers.append(
                LlmReader(*_asked(entry, path, environment, servers or {}), cache, words, may_vote=entry.may_vote)
            )
    if not readers:
        raise ReadersError(
            f"expected at least one enabled reader in {path}, got none: enable rules, which needs nothing"
        )
    return ReadersConfig(tuple(readers), words)


def _made(entry: ReaderEntry, path: Path, words: Vocabulary) -> Reader:
    """A reader of code that lies outside of this package: `factory(name, folder, vocabulary)`."""
    module, _, function = entry.factory.partition(":")
    try:
        make = getattr(importlib.import_module(module), function)
        reader: Reader = make(entry.name, path.parent / entry.model, words)
    except (ImportError, AttributeError, ValueError, OSError) as error:
        raise ReadersError(
            f"reader {entry.name!r} in {path}: expected {entry.factory} to make it of {entry.model}, got "
            f"{reason_of(error)}: correct factory or model"
        ) from error
    return reader


def _asked(
    entry: ReaderEntry, path: Path, environment: Mapping[str, str], servers: Mapping[str, tuple[str, ...]]
) -> tuple[str, ServerSettings, Prompt]:
    """Name, server and prompt of a language model."""
    prompt = entry.prompt
    if prompt.endswith(".toml"):
        prompt = str(path.parent / prompt)
    try:
        return entry.name, _server(entry, path, environment, servers), load_prompt(prompt)
    except PromptError as error:
        raise ReadersError(f"reader {entry.name!r} in {path}: {error}") from error


def _server(
    entry: ReaderEntry, path: Path, environment: Mapping[str, str], servers: Mapping[str, tuple[str, ...]]
) -> ServerSettings:
    values: dict[str, Any] = {}
    if entry.base_url is None and environment.get("PETAR_VLLM_URL"):
        urls = tuple(_with_v1(url) for url in environment["PETAR_VLLM_URL"].split())
        values["base_url"] = urls[0] if len(urls) == 1 else urls
    elif entry.base_url is None and entry.model in servers:
        values["base_url"] = servers[entry.model]
    if entry.api_key_env:
        values["api_key"] = environment.get(entry.api_key_env)
        if not values["api_key"]:
            raise ReadersError(
                f"expected the key of reader {entry.name!r} in the environment variable {entry.api_key_env}, got none:"
                f" set it, or remove api_key_env in {path}"
            )
    return ServerSettings.of(entry, **values)


def _with_v1(url: str) -> str:
    url = url.rstrip("/")
    return url if url.endswith("/v1") else f"{url}/v1"
