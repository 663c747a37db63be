import io

from rich.console import Console

from model.training.progress import StageProgress


def shown(is_terminal):
    out = io.StringIO()
    with StageProgress("findings_full", Console(file=out, force_terminal=is_terminal, width=120)) as progress:
        progress.begin(3, 10)
        progress.step({"step": 4, "loss": 2.3456, "samples_per_s": 181.7})
    return out.getvalue()


def test_says_step_loss_rate_and_time_left_on_a_terminal():
    assert "step 4/10, loss 2.346, 182 samples/s" in shown(True)


def test_is_silent_elsewhere():
    assert shown(False) == ""
