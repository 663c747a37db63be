"""Text of errors that other libraries raise, for our messages."""


def first_line(error: BaseException) -> str:
    """First non-empty line of an error's message; its type where it has no message."""
    return next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)
