"""Tables on standard output: framed by rich on a terminal, Markdown of any width in a pipe or a file."""

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

if TYPE_CHECKING:
    import polars as pl

_WIDE = 10_000
"""Columns of a line where there is no terminal: nothing is wrapped or cut."""


def print_table(names: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Prints rows under their columns' names; numbers to the right, floats with two decimals."""
    console = Console()
    if not console.is_terminal:
        console.width = _WIDE
    table = Table(box=box.SIMPLE_HEAD if console.is_terminal else box.MARKDOWN)
    rows = [list(row) for row in rows]
    for number, name in enumerate(names):
        is_number = any(isinstance(row[number], int | float) for row in rows)
        table.add_column(Text(name), justify="right" if is_number else "left", overflow="fold")
    for row in rows:
        table.add_row(*map(_cell, row))
    with console.capture() as printed:
        console.print(table)
    # The frame of Markdown has empty lines above and below.
    print(printed.get() if console.is_terminal else printed.get().strip(), flush=True)


def _cell(value: object) -> Text:
    """A value as it is written: never read as markup."""
    if value is None:
        return Text("null", style="dim")
    return Text(f"{value:.2f}" if isinstance(value, float) else str(value))


def print_frame(frame: "pl.DataFrame") -> None:
    """Prints every row and column of a frame."""
    print_table(frame.columns, frame.iter_rows())
