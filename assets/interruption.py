"""Ctrl-C of a command that curates: the first one stops after the exam in hand, a second one ends the process at once.

Dagster takes the signal for itself while a run is executed in the main thread, and drops it; so the runs are executed
in a thread beside, and the main one waits for signals.
"""

import os
import signal
import sys
import threading
from collections.abc import Callable
from types import FrameType

from pipelines.curation.stages.stopping import forget_request, request_stop, stop_is_requested

INTERRUPTED = 130
"""Exit code of a command that was stopped: 128 + SIGINT, as shells count."""


class CommandInterruptedError(Exception):
    """The command was stopped by Ctrl-C; what it finished is kept."""


def run_interruptible(work: Callable[[], None]) -> None:
    """Does some work, whose stages Ctrl-C stops after the exam in hand.

    Raises:
        CommandInterruptedError: it was stopped. Whatever else `work` raises is raised here.
    """
    if threading.current_thread() is not threading.main_thread():
        work()
        return
    forget_request()
    raised: list[BaseException] = []

    def run() -> None:
        try:
            work()
        except BaseException as error:
            raised.append(error)

    thread = threading.Thread(target=run, name="runs")
    before = signal.signal(signal.SIGINT, _on_interrupt)
    try:
        thread.start()
        while thread.is_alive():
            # With a limit, so that a signal is handled where a plain join would hold it back.
            thread.join(0.5)
    finally:
        signal.signal(signal.SIGINT, before)
    if raised and not (stop_is_requested() and isinstance(raised[0], CommandInterruptedError)):
        raise raised[0]
    if stop_is_requested():
        forget_request()
        raise CommandInterruptedError


def check_interrupted() -> None:
    """Raises CommandInterruptedError where a stop was asked for: between two runs."""
    if stop_is_requested():
        raise CommandInterruptedError


def _on_interrupt(number: int, frame: FrameType | None) -> None:
    if stop_is_requested():
        print("stopped at once; what was saved is kept, the same command goes on from there", file=sys.stderr)
        sys.stderr.flush()
        os._exit(INTERRUPTED)
    request_stop()
    print("stopping after the exam (or the training) in hand; Ctrl-C again stops at once", file=sys.stderr, flush=True)
