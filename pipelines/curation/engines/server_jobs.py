"""vLLM servers as jobs of a Slurm cluster, whose addresses the readers of reports find in the home."""

import json
import shlex
from dataclasses import dataclass
from pathlib import Path

from pipelines.curation.engines.slurm import Script, SlurmOptions, job_name, petar_command

_LOOK_EVERY_S = 15
"""Between two looks of a job at whether its server is well."""
_PORTS, _FIRST_PORT = 40_000, 20_000
"""Ports of the servers, by the number of their job: jobs that share a node have one each."""


@dataclass(frozen=True)
class ServerCall:
    """Servers of one model.

    Args:
        options: what each server's job is asked for.
        model: name or path, as `petar vllm start` takes it; empty: its default.
        served_name: what readers call the model (`model` of their file).
        n_servers: at least 1.
        gpus: of each server; 0: on processors.
        arguments: further ones of `petar vllm start`, those of vLLM itself after `--`.
    """

    options: SlurmOptions
    model: str
    served_name: str
    n_servers: int = 1
    gpus: int = 1
    arguments: tuple[str, ...] = ()


def server_script(home: Path, servers: Path, call: ServerCall, folder: Path) -> Script:
    """An array of jobs, each of which starts a server, writes its address once it is healthy, and removes it when the
    server or the job ends.

    Args:
        home: whose readers ask.
        servers: folder for the addresses, `Home.servers`.
        call: what is asked for.
        folder: where script and logs lie.
    """
    options = ["--gpu" if call.gpus else "--no-gpu", *(["--model", call.model] if call.model else [])]
    started = petar_command("vllm", "start", "--host", "0.0.0.0", "--served-name", call.served_name, *options)
    spread = ["--tensor-parallel-size", str(call.gpus)] if call.gpus > 1 else []
    more = shlex.join(["--", *spread, *call.arguments]) if spread or call.arguments else ""
    place = f'{shlex.quote(str(servers))}/"$SLURM_JOB_ID".json'
    model = shlex.quote(json.dumps(call.served_name))
    return Script(
        "servers",
        [
            f"--job-name={job_name(home, 'vllm')}",
            *call.options.directives(folder),
            f"--array=0-{call.n_servers - 1}",
            *([f"--gpus-per-node={call.gpus}"] if call.gpus else []),
            f"--output={folder}/%x-%A_%a.log",
        ],
        [
            f"port=$(({_FIRST_PORT} + SLURM_JOB_ID % {_PORTS}))",
            f"place={place}",
            f'finish() {{ rm -f "$place"; {petar_command("vllm", "stop")} --port "$port"; }}',
            "trap finish EXIT",
            "trap 'exit 143' TERM INT",
            f'{started} --port "$port" {more}'.rstrip(),
            f"mkdir -p {shlex.quote(str(servers))}",
            "host=$(hostname -f 2>/dev/null || hostname)",
            f"""printf '{{"model": %s, "url": "http://%s:%s/v1"}}\\n' {model} "$host" "$port" > "$place.new\"""",
            'mv "$place.new" "$place"',
            f'while {petar_command("vllm", "status")} --port "$port"; do sleep {_LOOK_EVERY_S} & wait $!; done',
        ],
    )
