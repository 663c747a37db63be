"""The page docs/settings.md and the JSON schema docs/petar.schema.json, written from `pipelines/settings.py`."""

import json
from collections.abc import Iterator, Mapping
from typing import Any

from pipelines.settings import ProjectSettings, allowed, resolved

_HEAD = """\
# Settings

Written from `pipelines/settings.py` by `python -m pipelines.catalog.dictionary`; a test holds it so. A cohort's
`petar.toml` (or the file that `PETAR_SETTINGS` or `--settings` names) sets what differs from the defaults. A key that
is not here, a value of another type or outside of its range ends the call with exit code 1 and a line each for
everything that is wrong, before anything is written. An editor that knows TOML schemas checks the file by
[petar.schema.json](petar.schema.json).
"""


def settings_schema() -> str:
    """The settings as a JSON schema, for editors."""
    return json.dumps(ProjectSettings.model_json_schema(), indent=1) + "\n"


def settings_page() -> str:
    """Every table of petar.toml with its keys, defaults, what is allowed, unit and source, as Markdown."""
    schema = ProjectSettings.model_json_schema()
    lines = [_HEAD]
    for title, node in _tables(schema, schema, ""):
        keys = {k: n for k, n in node["properties"].items() if "properties" not in resolved(schema, n)}
        if not keys:
            continue
        lines += [f"## {title}", "", " ".join(node.get("description", "").split()), ""]
        lines += ["| key | default | allowed | what it is |", "| --- | --- | --- | --- |"]
        lines += [
            f"| `{name}` | {_default(one)} | {_cell(allowed(schema, one))} | {_cell(one.get('description', ''))} |"
            for name, one in keys.items()
        ]
        lines.append("")
    return "\n".join(lines)


def _tables(schema: Mapping[str, Any], node: Mapping[str, Any], path: str) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Title and schema of a table and of those inside it."""
    yield (f"`{path}`" if path else "At the top of the file"), node
    for name, below in node["properties"].items():
        own = f"{path.strip('[]')}.{name}".strip(".")
        one = resolved(schema, below)
        if "properties" in one:
            yield from _tables(schema, one, f"[{own}]")
        elif "properties" in (entry := resolved(schema, one.get("items", {}))):
            yield from _tables(schema, entry, f"[[{own}]]")


def _default(node: Mapping[str, Any]) -> str:
    value = node.get("default")
    return "not set" if value is None else f"`{json.dumps(value, ensure_ascii=False)}`"


def _cell(words: str) -> str:
    return " ".join(words.replace("|", "\\|").split())
