"""What every summary ends with: the work that was done, and where things are."""

import shlex
from collections import Counter

from assets.run_summary import RunSummary
from pipelines.tables.home import Home


def print_lines(*lines: str) -> None:
    """Prints lines at once, also into a pipe."""
    print("\n".join(lines), flush=True)


def work_line(done: RunSummary) -> str:
    """How many exams each table computed and reused."""
    total: Counter[str] = Counter()
    for counter in done.counts.values():
        total.update(counter)
    if total["recomputed"] + total["removed"] + total["failed"] == 0 and not done.failed:
        return f"nothing to recompute: everything is up to date ({done.seconds:.1f} s)"
    parts = [
        f"{name} {counter['recomputed']} recomputed, {counter['reused']} reused"
        + (f", {counter['removed']} removed" if counter["removed"] else "")
        + (f", {counter['failed']} failed" if counter["failed"] else "")
        for name, counter in done.counts.items()
        if counter["recomputed"] + counter["reused"] + counter["removed"] + counter["failed"]
    ]
    return f"work in {done.seconds:.1f} s: {'; '.join(parts) or 'nothing was computed'}"


def print_closing(home: Home, cohort: str, *, is_published: bool) -> None:
    """Prints where the catalog, the UI and the pages are.

    Args:
        is_published: the catalog was published by this call, or is what this call would publish.
    """
    lines = [""]
    if home.catalog.exists():
        lines += [
            f"catalog     {home.catalog}" + ("" if is_published else ", as it was published before"),
            f"queries     petar query funnel --home {shlex.quote(str(home.root))}    (without a name: their list)",
        ]
    if home.overview.exists():
        lines.append(f"overview    {home.overview}    (open it in a browser)")
    lines.append(f"UI          petar ui --home {shlex.quote(str(home.root))} --cohort {shlex.quote(cohort)}")
    if (home.gallery / "index.html").exists():
        lines.append(f"review      {home.gallery / 'index.html'}")
    if home.exports.is_dir():
        lines.append(f"exports     {home.exports}")
    print_lines(*lines)
