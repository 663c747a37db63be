"""Ctrl-C of a command that curates."""

import os
import signal
import subprocess
import sys
import textwrap
import threading
import time

import pytest

from assets.interruption import CommandInterruptedError, check_interrupted, run_interruptible
from pipelines.curation.stages.stopping import stop_is_requested
from tests.support.paths import ROOT


class TestRunInterruptible:
    def test_lets_the_work_end_and_says_that_it_was_interrupted(self, capsys: pytest.CaptureFixture[str]) -> None:
        done: list[str] = []

        def work() -> None:
            os.kill(os.getpid(), signal.SIGINT)
            while not stop_is_requested():
                time.sleep(0.01)
            done.append("the exam in hand")
            check_interrupted()
            done.append("the next one")

        with pytest.raises(CommandInterruptedError):
            run_interruptible(work)
        assert done == ["the exam in hand"]
        assert "stopping after the exam" in capsys.readouterr().err
        assert not stop_is_requested()

    def test_raises_what_the_work_raises(self) -> None:
        def work() -> None:
            raise KeyError("x")

        with pytest.raises(KeyError):
            run_interruptible(work)

    def test_leaves_the_signal_as_it_was(self) -> None:
        before = signal.getsignal(signal.SIGINT)
        run_interruptible(lambda: None)
        assert signal.getsignal(signal.SIGINT) is before

    def test_outside_of_the_main_thread_the_work_is_done_all_the_same(self) -> None:
        done: list[int] = []
        thread = threading.Thread(target=run_interruptible, args=(lambda: done.append(1),))
        thread.start()
        thread.join()
        assert done == [1]

    def test_a_second_one_ends_the_process_at_once(self) -> None:
        script = textwrap.dedent("""
            import os, signal, time
            from assets.interruption import run_interruptible
            def work():
                for _ in range(2):
                    os.kill(os.getpid(), signal.SIGINT)
                    time.sleep(1)
                time.sleep(100)
            run_interruptible(work)
        """)
        done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=False)
        assert done.returncode == 130
        assert "at once" in done.stderr
