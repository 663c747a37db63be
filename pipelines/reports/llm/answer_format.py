"""What all answers of language models have in common: they are JSON objects, and errors show them in short."""

import json
from collections.abc import Mapping, Sequence


def object_problem(answer: str, keys: Sequence[str]) -> str | None:
    """What keeps an answer from being a JSON object with these keys, null where nothing does."""
    try:
        values = json.loads(answer)
    except ValueError:
        return f"expected JSON, the model answered {short(answer)!r}"
    if not isinstance(values, Mapping):
        return f"expected a JSON object, the model answered {short(answer)!r}"
    missing = [key for key in keys if key not in values]
    if missing:
        return f"expected {', '.join(missing)} in the answer, the model answered {short(answer)!r}"
    return None


def short(text: str, length: int = 200) -> str:
    """Text on one line, cut off with an ellipsis where it is longer."""
    flat = " ".join(text.split())
    return flat if len(flat) <= length else flat[: length - 1] + "…"
