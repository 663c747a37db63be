"""Which readers read, with how many votes, and which model structures findings: one TOML file."""

import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pipelines.reports.llm.answers import AnswerCache
from pipelines.reports.llm.chat import ServerSettings
from pipelines.reports.llm.llm_reader import LlmReader
from pipelines.reports.llm.llm_structurer import LlmStructurer
from pipelines.reports.llm.prompting import PromptError, load_prompt
from pipelines.reports.readers import Reader, RulesReader
from pipelines.reports.vocabulary.vocabulary import Vocabulary, package_vocabulary

DEFAULT_FILE = Path(__file__).parent / "readers.toml"

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.\-]*")
_SERVER_KEYS: Mapping[str, type | tuple[type, ...]] = {
    "model": str,
    "base_url": str,
    "concurrency": int,
    "timeout_s": (int, float),
    "max_retries": int,
    "backoff_s": (int, float),
    "backoff_max_s": (int, float),
    "max_tokens": int,
    "give_up_after": int,
    "extra": dict,
}
_OTHER_KEYS: Mapping[str, type | tuple[type, ...]] = {
    "name": str,
    "kind": str,
    "enabled": bool,
    "votes": int,
    "prompt": str,
    "api_key_env": str,
}


class ReadersError(ValueError):
    """The readers' file is not as expected; the message names the file, the reader and what to write."""


@dataclass(frozen=True)
class ReadersConfig:
    """The readers that are enabled, their votes, and the structurer, null where rules structure the findings."""

    readers: tuple[Reader, ...]
    weights: Mapping[str, int]
    structurer: LlmStructurer | None
    vocabulary: Vocabulary = field(default_factory=package_vocabulary)
    """The words that reports are cut, read and structured with."""


def load_readers(
    path: Path | None = None,
    *,
    cache: AnswerCache | None = None,
    environment: Mapping[str, str] | None = None,
    vocabulary: Vocabulary | None = None,
) -> ReadersConfig:
    """Readers of a TOML file; without a path, of the file that comes with the package (rules alone).

    Args:
        cache: where the answers of language models are kept.
        environment: looked up for `base_url`s and keys: PETAR_VLLM_URL, where set, replaces the base_url of readers
            that give none.
        vocabulary: the words that reports are read with; by default the package's.

    Raises:
        ReadersError: the file is not there, is no TOML, names an unknown key or kind, or enables no reader.
    """
    path = path or DEFAULT_FILE
    environment = environment or {}
    words = vocabulary or package_vocabulary()
    try:
        content = tomllib.loads(path.read_bytes().decode("utf-8"))
    except OSError as error:
        raise ReadersError(
            f"expected a file of readers, got {path}, which cannot be read ({error}): correct the path"
        ) from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ReadersError(f"expected TOML in {path}, got {error}: correct the file") from error
    unknown = sorted(set(content) - {"reader", "structurer"})
    if unknown:
        raise ReadersError(
            f"expected [[reader]] and [structurer] in {path}, got {', '.join(unknown)}: remove or rename it"
        )
    entries = content.get("reader", [])
    if not isinstance(entries, list) or not all(isinstance(e, dict) for e in entries):
        raise ReadersError(f"expected tables [[reader]] in {path}, got {entries!r}: write double brackets")
    readers: list[Reader] = []
    weights: dict[str, int] = {}
    for position, entry in enumerate(entries):
        _check(entry, path)
        name = entry["name"]
        if name in [e["name"] for e in entries[:position]]:
            raise ReadersError(f"expected one reader named {name!r} in {path}, got two: give each its own name")
        if not entry.get("enabled", True):
            continue
        weights[name] = entry.get("votes", 1)
        if entry["kind"] == "rules":
            readers.append(RulesReader(name, words))
        else:
            entry = {"prompt": "finding-v1", **entry}
            server, prompt = _server(entry, path, environment), _prompt(entry, path)
            readers.append(LlmReader(name, server, prompt, cache, words))
    if not readers:
        raise ReadersError(
            f"expected at least one enabled reader in {path}, got none: enable rules, which needs nothing"
        )
    structurer = None
    entry = content.get("structurer")
    if entry is not None and entry.get("enabled", True) and entry.get("kind", "llm") != "rules":
        entry = {"name": "structurer", "kind": "llm", "prompt": "fields-v1", **entry}
        _check(entry, path)
        server, prompt = _server(entry, path, environment), _prompt(entry, path)
        structurer = LlmStructurer(entry["name"], server, prompt, cache, words)
    return ReadersConfig(tuple(readers), weights, structurer, words)


def _check(entry: Mapping[str, Any], path: Path) -> None:
    name = entry.get("name")
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise ReadersError(
            f"expected a name of letters, digits, '-', '_' and '.' for each reader in {path}, got {name!r}: add name"
        )
    if entry.get("kind") not in ("rules", "llm"):
        raise ReadersError(
            f"expected kind rules or llm for reader {name!r} in {path}, got {entry.get('kind')!r}: correct kind"
        )
    known = {**_OTHER_KEYS, **_SERVER_KEYS}
    for key, value in entry.items():
        if key not in known:
            raise ReadersError(
                f"expected one of {', '.join(sorted(known))} for reader {name!r} in {path}, got {key}: remove or"
                " rename it"
            )
        kind = known[key]
        if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
            wanted = " or ".join(t.__name__ for t in (kind if isinstance(kind, tuple) else (kind,)))
            raise ReadersError(f"expected {wanted} for {key} of reader {name!r} in {path}, got {value!r}: correct it")
    for key in ("concurrency", "max_tokens", "votes", "timeout_s", "give_up_after"):
        if entry.get(key, 1) <= 0:
            raise ReadersError(f"expected {key} above 0 for reader {name!r} in {path}, got {entry[key]}: correct it")
    if entry["kind"] == "llm" and entry.get("enabled", True) and not entry.get("model"):
        raise ReadersError(f"expected the model's name for reader {name!r} in {path}, got none: add model")


def _prompt(entry: Mapping[str, Any], path: Path) -> Any:
    name = entry["prompt"]
    beside = path.parent / name
    try:
        return load_prompt(str(beside) if name.endswith(".toml") and not Path(name).is_absolute() else name)
    except PromptError as error:
        raise ReadersError(f"reader {entry['name']!r} in {path}: {error}") from error


def _server(entry: Mapping[str, Any], path: Path, environment: Mapping[str, str]) -> ServerSettings:
    values = {key: entry[key] for key in _SERVER_KEYS if key in entry}
    if "base_url" not in values and environment.get("PETAR_VLLM_URL"):
        values["base_url"] = _with_v1(environment["PETAR_VLLM_URL"])
    variable = entry.get("api_key_env")
    if variable:
        key = environment.get(variable)
        if not key:
            raise ReadersError(
                f"expected the key of reader {entry['name']!r} in the environment variable {variable}, got none: set"
                f" it, or remove api_key_env in {path}"
            )
        values["api_key"] = key
    return ServerSettings(**values)


def _with_v1(url: str) -> str:
    url = url.rstrip("/")
    return url if url.endswith("/v1") else f"{url}/v1"
