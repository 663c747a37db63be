"""What messages of ours say of an error that another library raised."""


def first_line(error: BaseException) -> str:
    """First line of an error's words that is not empty; its type where it has no words."""
    return next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)
