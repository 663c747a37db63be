"""What a name that is not known was perhaps meant to be."""

from collections.abc import Iterable
from difflib import get_close_matches


def suggestion(got: str, known: Iterable[str], otherwise: str = "") -> str:
    """The end of a message: `: did you mean 'funnel'?` where a known name is like it; `otherwise` where none is."""
    near = get_close_matches(got, list(known), n=1)
    return f": did you mean {near[0]!r}?" if near else otherwise
