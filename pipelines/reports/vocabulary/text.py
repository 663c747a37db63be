"""Report text made uniform without moving a character, so that a position in it is a position in the report."""

_LINE_FEED_ESCAPES = ("_x000D_", "_x000d_", "_x000A_", "_x000a_")

_SINGLE = {
    "\r": " ",
    "\t": " ",
    "\f": " ",
    "\v": " ",
    "\u00a0": " ",
    "\u2007": " ",
    "\u2009": " ",
    "\u202f": " ",
    "\u200b": " ",
    "\ufeff": " ",
    "\u2028": "\n",
    "\u2029": "\n",
    "\u0085": "\n",
    "\u2010": "-",
    "\u2011": "-",
    "\u2012": "-",
    "\u2013": "-",
    "\u2014": "-",
    "\u2015": "-",
    "\u2212": "-",
    "\u2018": "'",
    "\u2019": "'",
    "\u201c": '"',
    "\u201d": '"',
    "\u00d7": "x",
    "\uff1b": ";",
    "\uff1a": ":",
    "\uff08": "(",
    "\uff09": ")",
}
_TABLE = str.maketrans(_SINGLE)


def clean(text: str) -> str:
    """Text of the same length with plain spaces, dashes and quotes.

    `_x000D_` (a carriage return that Excel escaped) becomes spaces.
    """
    for escape in _LINE_FEED_ESCAPES:
        if escape in text:
            text = text.replace(escape, " " * (len(escape) - 1) + ("\n" if "A" in escape.upper() else " "))
    return text.translate(_TABLE)


def lower(text: str) -> str:
    """Text in lower case and of the same length; the few letters whose lower case is longer stay as they are."""
    lowered = text.lower()
    if len(lowered) == len(text):
        return lowered
    return "".join(c.lower() if len(c.lower()) == 1 else c for c in text)


def squeeze(text: str) -> str:
    """Clean text on one line with single spaces, for comparing, prompting and showing; positions in it are its own."""
    return " ".join(clean(text).split())
