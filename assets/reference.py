"""The page of docs/ on assets, checks, jobs, schedules and sensors: python -m assets.reference FILE."""

import sys
import warnings
from collections.abc import Iterable, Sequence
from pathlib import Path

import dagster as dg

from assets.definitions import build_defs
from assets.partitions import SHARDS
from pipelines.tables import atomic

Rows = Iterable[tuple[str, ...]]


def assets_page() -> str:
    """Every asset by group, with what it is made of, and every check, job, schedule and sensor, as Markdown."""
    defs = build_defs()
    repository = defs.get_repository_def()
    specs = sorted(defs.resolve_all_asset_specs(), key=lambda spec: (spec.group_name or "", spec.key.to_user_string()))
    lines = [
        "# Assets and checks",
        "",
        "Made from the definitions; `petar ui` shows the same with its state. Sharded: in 64 shards by patient.",
    ]
    for group in dict.fromkeys(spec.group_name or "" for spec in specs):
        rows = (
            (
                f"`{spec.key.to_user_string()}`",
                spec.description or "",
                ", ".join(f"`{dep.asset_key.to_user_string()}`" for dep in spec.deps),
                "yes" if spec.partitions_def == SHARDS else "",
            )
            for spec in specs
            if (spec.group_name or "") == group
        )
        lines += _table(f"Group {group}", ("asset", "what it is", "made of", "sharded"), rows)
    checks = (
        (f"`{spec.name}`", f"`{spec.asset_key.to_user_string()}`", spec.description or "")
        for check in defs.asset_checks or []
        for spec in check.check_specs
    )
    lines += _table("Checks", ("check", "of", "passes where"), sorted(checks, key=lambda row: (row[1], row[0])))
    jobs = ((f"`{job.name}`", job.description or "") for job in repository.get_all_jobs() if job.description)
    lines += _table("Jobs", ("job", "what it does"), jobs)
    on = dg.DefaultScheduleStatus.RUNNING
    schedules = (
        (f"`{s.name}`", s.description or "", "on" if s.default_status == on else "off")
        for s in repository.schedule_defs
    )
    lines += _table("Schedules", ("schedule", "what it does", "until switched"), schedules)
    watching = dg.DefaultSensorStatus.RUNNING
    sensors = (
        (f"`{s.name}`", s.description or "", "on" if s.default_status == watching else "off")
        for s in repository.sensor_defs
    )
    lines += _table("Sensors", ("sensor", "what it does", "until switched"), sensors)
    return "\n".join(lines) + "\n"


def _table(title: str, head: tuple[str, ...], rows: Rows) -> list[str]:
    lines = ["", f"## {title}", "", f"| {' | '.join(head)} |", f"|{' --- |' * len(head)}"]
    return lines + [f"| {' | '.join(_cell(text) for text in row)} |" for row in rows]


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")


def main(arguments: Sequence[str] | None = None) -> int:
    """Writes the page to the file that is named."""
    warnings.simplefilter("ignore")
    (target,) = sys.argv[1:] if arguments is None else arguments
    atomic.write_bytes(Path(target), assets_page().encode())
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
