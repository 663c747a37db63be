import io

from rich.console import Console

from model.training import progress as progress_module
from model.training.progress import StageProgress


def shown(is_terminal):
    out = io.StringIO()
    with StageProgress("findings_full", Console(file=out, force_terminal=is_terminal, width=120)) as progress:
        progress.begin(3, 10)
        progress.step({"step": 4, "loss": 2.3456, "samples_per_s": 181.7})
    return out.getvalue()


def test_says_step_loss_rate_and_time_left_on_a_terminal():
    assert "step 4/10, loss 2.346, 182 samples/s" in shown(True)


def test_says_it_in_lines_elsewhere():
    first, last = shown(False).splitlines()
    assert first == "findings_full: reads samples and weights"
    assert last.startswith("findings_full: step 4/10, loss 2.346, 182 samples/s, ")
    assert last.endswith(" s left")


def test_prints_a_line_only_now_and_then(monkeypatch):
    now = [0.0]
    monkeypatch.setattr(progress_module.time, "monotonic", lambda: now[0])
    out = io.StringIO()
    with StageProgress("findings_full", Console(file=out, force_terminal=False)) as progress:
        progress.begin(0, 100)
        for step in range(1, 31):
            now[0] += 1
            progress.step({"step": step, "loss": 2.0, "samples_per_s": 8.0})
    said = [line.split(",")[0] for line in out.getvalue().splitlines()[1:]]
    assert said == [f"findings_full: step {n}/100" for n in (10, 20, 30)]
    assert "70 s left" in out.getvalue()
