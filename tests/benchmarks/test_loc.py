"""Lines of code are those that hold code."""

from benchmarks.loc import count


def test_blanks_comments_and_docstrings_do_not_count() -> None:
    source = '"""A module.\n\nOf two lines."""\n\n# A comment.\nX = 1  # one\n"""What X is."""\n\n\ndef f() -> str:\n'
    assert count(source + '    """Says\n    so."""\n    return """two\nlines"""\n') == 4
