"""A request to stop a curation after the exam in hand, made once for the process (Ctrl-C)."""

import threading

_requested = threading.Event()


class CurationStoppedError(RuntimeError):
    """A stage ended before its last exam because that was asked for; what it computed is saved."""


def request_stop() -> None:
    """Asks every stage of this process to end after the exam that it is computing."""
    _requested.set()


def stop_is_requested() -> bool:
    """Whether stages are to end."""
    return _requested.is_set()


def forget_request() -> None:
    """Takes the request back, for the next command of this process."""
    _requested.clear()
