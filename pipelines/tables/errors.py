"""Text of errors, for our messages."""

from collections.abc import Sequence

from pipelines.tables.safe_text import error_reason

_OURS = ("pipelines.", "model.", "assets.")


def reason_of(error: BaseException) -> str:
    """The message of an error of this project; of any other its kind, for its text may quote a file's name or words."""
    return str(error) if type(error).__module__.startswith(_OURS) else error_reason(error)


def first_line(error: BaseException) -> str:
    """First non-empty line of an error's message; its type where it has no message."""
    return next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)


def listed(names: Sequence[object], most: int, joint: str = ", ") -> str:
    """The first of some names, and how many more there are."""
    more = f"{joint}and {len(names) - most} more" if len(names) > most else ""
    return joint.join(str(name) for name in names[:most]) + more
