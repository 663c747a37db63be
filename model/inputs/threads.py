"""How many threads torch computes with, and batches that are loaded while the last one is computed."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
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


def prefetched(keys: Iterable[K], load: Callable[[K], T], ahead: int = 2) -> Iterator[T]:
    """`load(key)` of every key in order, loaded by one thread up to `ahead` before they are asked for.

    An exception of `load` is raised where its value would have come. The thread ends with the iterator.
    """
    pool = ThreadPoolExecutor(1, "inputs")
    waiting: deque[Future[T]] = deque()
    try:
        for key in keys:
            waiting.append(pool.submit(load, key))
            if len(waiting) > ahead:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        pool.shutdown(cancel_futures=True)
