import json
import subprocess
import sys
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, HTTPServer
from threading import Thread

import pytest

from pipelines.reports.llm import vllm_server
from pipelines.reports.llm.servers import ServerSettings
from pipelines.reports.llm.vllm_server import (
    ServerError,
    ServerPlan,
    plans_for,
    server_command,
    server_environment,
    start,
    stop,
)


@pytest.fixture
def plan(tmp_path):
    return ServerPlan(venv=tmp_path / "venv", port=1)


@pytest.fixture
def healthy(plan):
    """A plan at whose address something healthy answers that holds the model `other`."""

    class Handler(BaseHTTPRequestHandler):
        def log_message(self, *args):
            pass

        def do_GET(self):
            body = json.dumps({"data": [{"id": "other"}]}).encode() if self.path == "/v1/models" else b""
            self.send_response(200)
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

    server = HTTPServer(("127.0.0.1", 0), Handler)
    Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
    yield replace(plan, port=server.server_address[1])
    server.shutdown()
    server.server_close()


class TestCommand:
    def test_cpu_server_is_called_as_a_module_and_eager(self, plan):
        command = server_command(plan, "/model")
        assert command[1:3] == ["-m", "vllm.entrypoints.openai.api_server"]
        assert "--enforce-eager" in command
        assert command[command.index("--served-model-name") + 1] == "smollm2-135m"

    def test_gpu_server_has_no_cpu_options(self, plan):
        gpu = replace(plan, gpu=True, model="Qwen/Qwen3-30B-A3B", arguments=("--tensor-parallel-size", "2"))
        command = server_command(gpu, "Qwen/Qwen3-30B-A3B")
        assert "--enforce-eager" not in command
        assert command[-2:] == ["--tensor-parallel-size", "2"]
        assert gpu.name == "Qwen/Qwen3-30B-A3B"

    def test_local_model_is_offline_and_cpu_has_its_cache(self, plan, tmp_path):
        assert server_environment(plan, str(tmp_path))["HF_HUB_OFFLINE"] == "1"
        assert server_environment(plan, str(tmp_path))["VLLM_CPU_KVCACHE_SPACE"] == "1"
        assert "HF_HUB_OFFLINE" not in server_environment(replace(plan, gpu=True), "Qwen/Qwen3-30B-A3B")


class TestStart:
    def test_healthy_server_of_the_model_is_left_alone(self, healthy, capsys):
        start(replace(healthy, served_name="other"))
        assert "healthy already" in capsys.readouterr().out

    def test_port_with_another_model_is_refused(self, healthy):
        with pytest.raises(ServerError, match="server of other"):
            start(healthy)

    def test_server_that_ends_shows_its_log(self, plan, monkeypatch):
        monkeypatch.setattr(vllm_server, "ensure_environment", lambda plan: None)
        monkeypatch.setattr(vllm_server, "ensure_cpu_model", lambda plan: plan.venv)
        script = "import sys; print('no memory left'); sys.exit(3)  # vllm.entrypoints"
        monkeypatch.setattr(vllm_server, "server_command", lambda plan, model: [sys.executable, "-c", script])
        with pytest.raises(ServerError, match="no memory left"):
            start(plan)


class TestStop:
    def test_nothing_to_stop(self, plan):
        assert stop(plan) is False

    def test_ends_the_process_and_its_children(self, plan):
        script = (
            "import subprocess, sys, time\n"
            "subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(60)'])\n"
            "print(1, flush=True)\n"
            "time.sleep(60)  # vllm.entrypoints\n"
        )
        process = subprocess.Popen([sys.executable, "-c", script], start_new_session=True, stdout=subprocess.PIPE)
        process.stdout.readline()
        plan.state.parent.mkdir(parents=True)
        plan.state.write_text(json.dumps({"pid": process.pid}))
        assert stop(plan) is True
        assert not plan.state.exists()
        with process.stdout as pipe:
            assert pipe.read() == b""  # the child held the pipe's other end until it ended

    def test_another_program_with_the_number_is_left_alone(self, plan):
        process = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"], start_new_session=True)
        try:
            plan.state.parent.mkdir(parents=True)
            plan.state.write_text(json.dumps({"pid": process.pid}))
            assert stop(plan) is False
            assert process.poll() is None
        finally:
            process.kill()
            process.wait()


class TestPlansFor:
    @pytest.fixture
    def base(self, tmp_path):
        return ServerPlan(venv=tmp_path)

    def test_a_server_for_each_model_of_this_machine(self, base):
        asked = [
            ServerSettings("a", ("http://127.0.0.1:8001/v1", "http://127.0.0.1:8002/v1")),
            ServerSettings("b", "http://localhost:8003/v1"),
        ]
        plans, reasons = plans_for(asked, replace(base, gpu=True))
        assert [(p.model, p.port) for p in plans] == [("a", 8001), ("a", 8002), ("b", 8003)]
        assert reasons == []

    def test_without_a_gpu_the_small_model_alone(self, base):
        asked = [ServerSettings("smollm2-135m"), ServerSettings("a", "http://127.0.0.1:8001/v1")]
        plans, reasons = plans_for(asked, base)
        assert [(p.name, p.model) for p in plans] == [("smollm2-135m", None)]
        assert ["needs a GPU" in reason for reason in reasons] == [True]

    @pytest.mark.parametrize(
        ("url", "why"), [("http://gpu7:8000/v1", "another machine"), ("http://127.0.0.1:8000/v1", "port 8000")]
    )
    def test_says_why_one_gets_none(self, base, url, why):
        _, reasons = plans_for([ServerSettings("a"), ServerSettings("b", url)], replace(base, gpu=True))
        assert [why in reason for reason in reasons] == [True]
