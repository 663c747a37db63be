"""Values that several threads ask for: each is made once, and the last used ones are kept up to a size."""

import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable
from concurrent.futures import Future
from typing import Generic, TypeVar

T = TypeVar("T")


class SharedCache(Generic[T]):
    """The last used values up to a total size; a thread that asks for one that is being made waits for it.

    Args:
        limit_bytes: of all values together; one larger than this is made each time.
        size: bytes of a value.
    """

    def __init__(self, limit_bytes: int, size: Callable[[T], int]) -> None:
        self._limit, self._size, self._used = limit_bytes, size, 0
        self._values: OrderedDict[Hashable, T] = OrderedDict()
        self._making: dict[Hashable, Future[T]] = {}
        self._lock = threading.Lock()

    def get(self, key: Hashable, make: Callable[[], T]) -> T:
        """The value of a key, made by `make` where it is not kept; an error of `make` is raised for all that wait."""
        with self._lock:
            if key in self._values:
                self._values.move_to_end(key)
                return self._values[key]
            waiting = self._making.get(key)
            if waiting is None:
                own: Future[T] = Future()
                self._making[key] = own
        if waiting is not None:
            return waiting.result()
        try:
            value = make()
        except BaseException as error:
            with self._lock:
                del self._making[key]
            own.set_exception(error)
            raise
        self.keep(key, value)
        with self._lock:
            del self._making[key]
        own.set_result(value)
        return value

    def kept(self, key: Hashable) -> T | None:
        """The value of a key, None where it is not kept."""
        with self._lock:
            if key in self._values:
                self._values.move_to_end(key)
            return self._values.get(key)

    def keep(self, key: Hashable, value: T) -> None:
        """Keeps a value."""
        size = self._size(value)
        with self._lock:
            if size > self._limit or key in self._values:
                return
            self._values[key] = value
            self._used += size
            while self._used > self._limit:
                _, old = self._values.popitem(last=False)
                self._used -= self._size(old)
