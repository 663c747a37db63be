"""Scripts for Slurm, and what is asked of `sbatch` and `srun`, which are scripts of the test here."""

import os
import shlex
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from pipelines.curation.engines.batch import Batch
from pipelines.curation.engines.slurm import (
    Script,
    SlurmError,
    SlurmOptions,
    check_nodes_see,
    check_sbatch,
    curation_scripts,
    job_name,
    printed,
    submit,
)
from pipelines.curation.source import CurationSource

Programs = Callable[..., Path]


@pytest.fixture
def batch(tmp_path: Path) -> Batch:
    home = tmp_path / "my home"
    return Batch(home / "batches" / "one", CurationSource(str(tmp_path / "cohort"), str(home)), (2, 3))


@pytest.fixture
def programs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Programs:
    """Puts programs on the PATH, each a name with a line of shell; a file takes the arguments of all calls."""

    def put(**lines: str) -> Path:
        folder = tmp_path / "bin"
        folder.mkdir(exist_ok=True)
        log = tmp_path / "calls"
        for name, line in lines.items():
            path = folder / name
            path.write_text(f'#!/bin/sh\necho "{name} $*" >> {shlex.quote(str(log))}\n{line}\n')
            path.chmod(0o755)
        monkeypatch.setenv("PATH", f"{folder}{os.pathsep}/usr/bin{os.pathsep}/bin")
        return log

    return put


class TestScripts:
    def test_are_an_array_a_plan_an_array_and_the_publication(self, batch: Batch) -> None:
        scripts = curation_scripts(batch, SlurmOptions(), {0: [[1, 5], [7]]})
        assert [script.name for script in scripts] == ["phase-1", "plan-2", "phase-2", "publish"]
        texts = [script.text() for script in scripts]
        assert "#SBATCH --array=0-1\n" in texts[0]
        assert "# task 0: shards 01 05\n# task 1: shards 07\n" in texts[0]
        assert "#SBATCH --array=0-2\n" in texts[2]
        assert all(text.startswith("#!/bin/bash\n#SBATCH --job-name=petar-curate-") for text in texts)
        assert all("--array" not in text for text in (texts[1], texts[3]))

    def test_leave_out_a_phase_that_has_nothing_to_do(self, batch: Batch) -> None:
        scripts = curation_scripts(replace(batch, n_chunks=(0, 1)), SlurmOptions(), {1: [[3]]})
        assert [script.name for script in scripts] == ["phase-2", "publish"]

    def test_of_nothing_to_do_publish_alone(self, batch: Batch) -> None:
        assert [s.name for s in curation_scripts(replace(batch, n_chunks=(0, 0)), SlurmOptions(), {})] == ["publish"]

    def test_ask_for_what_the_options_say_with_paths_in_quotes(self, batch: Batch) -> None:
        options = SlurmOptions("cpu", 4, 8, "20G", "8:00:00", ["--account=lab"])
        text = curation_scripts(batch, options, {0: [[1]]})[0].text()
        for option in ("partition=cpu", "cpus-per-task=8", "mem=20G", "time=8:00:00", "account=lab"):
            assert f"#SBATCH --{option}\n" in text
        assert f"#SBATCH --chdir='{batch.folder}'\n" in text
        words = shlex.split(text.splitlines()[-1])
        assert words[-6:] == ["work", str(batch.folder), "--phase", "1", "--chunk", "$SLURM_ARRAY_TASK_ID"]

    def test_of_another_home_have_another_name(self, tmp_path: Path) -> None:
        assert job_name(tmp_path / "a", "curate") == job_name(tmp_path / "b" / ".." / "a", "curate")
        assert job_name(tmp_path / "a", "curate") != job_name(tmp_path / "b", "curate")

    def test_are_printed_with_their_dependencies(self) -> None:
        text = printed([Script("one", [], ["true"]), Script("two", [], ["false"], after="afterok")])
        assert "### one.sh: sbatch --parsable --dependency=singleton\n" in text
        assert "### two.sh: sbatch --parsable --dependency=afterok:<id of one>\n" in text


class TestSubmission:
    def test_chains_the_jobs(self, tmp_path: Path, programs: Programs) -> None:
        log = programs(sbatch='wc -l < "$(dirname "$0")/../calls" | tr -d " "')
        scripts = [Script(name, [], ["true"]) for name in ("one", "two", "three")]
        assert submit(scripts, tmp_path) == ["1", "2", "3"]
        dependencies = [line.split()[2] for line in log.read_text().splitlines()]
        assert dependencies == ["--dependency=singleton", "--dependency=afterany:1", "--dependency=afterany:2"]
        assert (tmp_path / "two.sh").read_text() == scripts[1].text()

    def test_that_is_refused_leaves_nothing_in_the_queue(self, tmp_path: Path, programs: Programs) -> None:
        refuses = 'case "$*" in *two.sh*) echo "sbatch: error: invalid partition" >&2; exit 1;; esac; echo "41;cluster"'
        log = programs(sbatch=refuses, scancel="true")
        with pytest.raises(SlurmError, match="expected sbatch to take two, got: sbatch: error: invalid partition"):
            submit([Script(name, [], ["true"]) for name in ("one", "two", "three")], tmp_path)
        assert log.read_text().splitlines()[-1] == "scancel 41"

    def test_needs_sbatch(self, programs: Programs, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        monkeypatch.setenv("PATH", str(tmp_path))
        with pytest.raises(SlurmError, match="expected sbatch on the PATH, got none"):
            check_sbatch()
        programs(sbatch="true", srun="true")
        check_sbatch()


RUN_HERE = 'while [ "$1" != sh ]; do shift; done; "$@"'
"""What `srun` does on a machine that is its own node."""


class TestNodes:
    def test_that_see_everything_are_right(self, tmp_path: Path, programs: Programs) -> None:
        log = programs(srun=RUN_HERE)
        options = SlurmOptions("cpu", more=["--account=lab", "--mail-type=END"])
        assert check_nodes_see(tmp_path, [tmp_path / "bin"], options) == ""
        assert "--partition=cpu --account=lab sh" in log.read_text()
        assert not list(tmp_path.glob(".seen*"))

    def test_that_have_another_disk_at_the_home_are_an_error(self, tmp_path: Path, programs: Programs) -> None:
        programs(srun=f'rm -f "{tmp_path}"/.seen-*; {RUN_HERE}')
        with pytest.raises(SlurmError, match=f"expected nodes that see {tmp_path}, got one that does not"):
            check_nodes_see(tmp_path, [], SlurmOptions())

    def test_that_lack_another_path_are_an_error_that_names_it(self, tmp_path: Path, programs: Programs) -> None:
        programs(srun=RUN_HERE)
        with pytest.raises(SlurmError, match=r"expected nodes that see .*/cohort, got one"):
            check_nodes_see(tmp_path, [tmp_path / "cohort"], SlurmOptions())

    def test_of_which_none_is_free_are_a_warning(self, tmp_path: Path, programs: Programs) -> None:
        programs(srun='echo "srun: error: Unable to allocate resources: nodes are busy" >&2; exit 1')
        assert "nodes are busy" in check_nodes_see(tmp_path, [], SlurmOptions())
