"""A constant that is changed in the code: what it makes stale is recomputed, as a new home would have it."""

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

from pipelines.phantom import PhantomSettings, write_cohort

ROOT = Path(__file__).parents[3]
CURATE = """
import json, sys
from pathlib import Path
from pipelines.cohort.manifest import observe_cohort
from pipelines.curation.run import PHASES, TABLES, open_curation, run_stage, stale_shards
from pipelines.settings import CurationSettings
from pipelines.tables.home import Home

home, cohort = Home(Path(sys.argv[1])), Path(sys.argv[2])
curation = open_curation(home, CurationSettings())
observe_cohort(cohort, home.manifest)
counts = {table: 0 for table in TABLES}
for tables in PHASES:
    for shard in stale_shards(curation, tables):
        for table in tables:
            counts[table] += run_stage(curation, table, shard).counts.recomputed
print(json.dumps({"stale": len(stale_shards(curation)), "recomputed": counts}))
"""


def curate(sources: Path, home: Path, cohort: Path) -> dict[str, Any]:
    """Curates with the sources of a folder, in a process of its own.

    Returns how many shards are stale then, and how many exams were recomputed, by table.
    """
    command = [sys.executable, "-c", CURATE, str(home), str(cohort)]
    done = subprocess.run(command, cwd=sources, env={"PATH": "/usr/bin:/bin", "PYTHONPATH": str(sources)}, check=True,
                          capture_output=True, text=True)  # fmt: skip
    return json.loads(done.stdout.splitlines()[-1])


def lake(home: Path) -> dict[str, bytes]:
    return {str(p.relative_to(home)): p.read_bytes() for p in sorted((home / "lake").rglob("*.parquet"))}


def test_rows_of_changed_code_are_those_of_a_new_home(tmp_path: Path) -> None:
    cohort, sources = tmp_path / "cohort", tmp_path / "sources"
    write_cohort(cohort, PhantomSettings(n_patients=2, n_exams=2, size="small", with_faults=False))
    # With what is compiled of them: copies have the times of their originals.
    shutil.copytree(ROOT / "pipelines", sources / "pipelines")
    assert curate(sources, tmp_path / "home", cohort)["stale"] == 0
    before = lake(tmp_path / "home")

    path = sources / "pipelines" / "imaging" / "lesions" / "levels.py"
    text, n = re.subn(r"^FWHM_TO_SIGMA = .*", "FWHM_TO_SIGMA = 0.8", path.read_text(), flags=re.MULTILINE)
    assert n == 1
    path.write_text(text)
    recomputed = curate(sources, tmp_path / "home", cohort)["recomputed"]
    assert {table for table, n in recomputed.items() if n} == {"lesions"}
    curate(sources, tmp_path / "new", cohort)
    assert lake(tmp_path / "home") == lake(tmp_path / "new")
    changed = {name for name, content in lake(tmp_path / "home").items() if content != before[name]}
    assert changed
    assert {name.split("/")[1] for name in changed} == {"lesions"}
