"""How many threads torch computes with, and batches that are made while the last one is computed."""

import queue
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import TypeVar

import torch

T = TypeVar("T")
K = TypeVar("K")


@contextmanager
def limited_threads(count: int) -> Iterator[None]:
    """Torch computes with so many threads inside the block; 0 leaves them as they are.

    A tiny model is quickest with one: its operations are shorter than what it takes to wake a second thread, and on a
    busy machine the threads wait for each other.
    """
    before = torch.get_num_threads()
    if count:
        torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def made_ahead(keys: Iterable[K], make: Callable[[K], T], ahead: int = 2) -> Iterator[T]:
    """`make(key)` of every key in order, made by a thread up to `ahead` before they are asked for.

    An exception of `make` is raised where its value would have come. The thread ends with the iterator.
    """
    made: queue.Queue[tuple[bool, T | BaseException | None]] = queue.Queue(ahead)
    stop = threading.Event()

    def put(item: tuple[bool, T | BaseException | None]) -> bool:
        while not stop.is_set():
            try:
                made.put(item, timeout=0.1)
                return True
            except queue.Full:
                continue
        return False

    def work() -> None:
        try:
            for key in keys:
                if not put((True, make(key))):
                    return
            put((False, None))
        except BaseException as error:
            put((False, error))

    thread = threading.Thread(target=work, name="inputs", daemon=True)
    thread.start()
    try:
        while True:
            good, value = made.get()
            if not good:
                if value is not None:
                    raise value  # type: ignore[misc]  # what is not good is an exception
                return
            yield value  # type: ignore[misc]  # what is good is a value
    finally:
        stop.set()
        thread.join()
