"""Jobs that run a language model's server: the script by a shell, with `petar` played by a few lines of it."""

import json
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from assets.cli import main
from pipelines.curation.engines.server_jobs import ServerCall, server_script
from pipelines.curation.engines.slurm import SlurmOptions
from pipelines.reports.llm.server_addresses import forget_dead_servers, server_addresses

PLAYED = """\
#!/bin/bash
echo "$*" >> {said}
if [ "$4" = status ]; then
  cat {servers}/*.json >> {seen}
  test "$(grep -c ' status ' {said})" -lt 2
fi
"""


def run(tmp_path: Path, call: ServerCall) -> tuple[list[str], str]:
    """What `petar` was called with, and the address that lay there while the server was up."""
    said, seen, servers, played = (tmp_path / name for name in ("said", "seen", "servers of a home", "petar"))
    played.write_text(PLAYED.format(said=said, seen=seen, servers=shlex.quote(str(servers))))
    played.chmod(0o755)
    text = server_script(tmp_path, servers, call, tmp_path).text()
    text = text.replace(shlex.quote(sys.executable), str(played)).replace("sleep 15", "sleep 0")
    done = subprocess.run(
        ["bash", "-c", text], env={"SLURM_JOB_ID": "40123", "PATH": "/usr/bin:/bin"}, capture_output=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert server_addresses(servers) == {}
    return said.read_text().splitlines(), seen.read_text()


def test_the_address_lies_there_while_the_server_is_up(tmp_path: Path) -> None:
    said, seen = run(tmp_path, ServerCall(SlurmOptions(), "/models/a b", "qwen", 4, 2, ("--max-num-seqs", "8")))
    assert [line.split()[3] for line in said] == ["start", "status", "status", "stop"]
    assert "--host 0.0.0.0 --served-name qwen --gpu --model /models/a b --port 20123" in said[0]
    assert said[0].endswith("-- --tensor-parallel-size 2 --max-num-seqs 8")
    written = json.loads(seen.splitlines()[0])
    assert written["model"] == "qwen"
    assert written["url"].startswith("http://")
    assert written["url"].endswith(":20123/v1")


def test_addresses_by_model_and_those_of_dead_servers_forgotten(tmp_path: Path) -> None:
    for name, model in (("1", "a"), ("2", "b"), ("3", "a")):
        (tmp_path / f"{name}.json").write_text(json.dumps({"model": model, "url": f"http://127.0.0.1:{name}/v1"}))
    (tmp_path / "4.json").write_text("no address")
    assert server_addresses(tmp_path) == {
        "a": ("http://127.0.0.1:1/v1", "http://127.0.0.1:3/v1"),
        "b": ("http://127.0.0.1:2/v1",),
    }
    forget_dead_servers(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_dry_run_prints_the_script_and_writes_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    home = tmp_path / "home"
    asked = ["vllm", "slurm", "a/model", "--home", str(home), "--servers", "3", "--partition", "gpu", "--dry-run"]
    assert main(asked) == 0
    printed = capsys.readouterr().out
    for line in ("--array=0-2", "--gpus-per-node=1", "--partition=gpu", "--cpus-per-task=8"):
        assert f"#SBATCH {line}\n" in printed
    assert "--served-name a/model" in printed
    assert not home.exists()
