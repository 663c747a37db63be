"""What a client may take of the server: time to send a request, bytes of a body, bytes that an upload unpacks to, and
the names under which the server is asked.
"""

import asyncio
import ipaddress
import socket
import zlib
from collections.abc import Collection, Iterator
from typing import Any, cast
from urllib.parse import urlsplit

from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Receive, Scope, Send
from uvicorn.protocols.http.h11_impl import H11Protocol

HEADER_TIMEOUT_S = 20.0
"""From the first byte of a connection or request to the end of its header."""
BODY_TIMEOUT_S = 30.0
"""For a body, and the time that its bytes take at the slowest rate on top."""
SLOWEST_BYTES_S = 250_000
"""Bytes a second: a line of 2 Mbit/s."""
MAX_CONNECTIONS = 64
"""At once; further ones are told to come again (503)."""
MAX_BODY_BYTES = 1 << 30
MAX_UNPACKED_BYTES = 1 << 31
"""Of one image: 2 GiB hold a whole-body PET of 1 mm voxels in float32."""

_CHUNK_BYTES = 1 << 20


class TooLargeError(ValueError):
    """An upload that unpacks to more bytes than it may."""


def body_timeout_s(n_bytes: int) -> float:
    """How long a body of so many bytes may take."""
    return BODY_TIMEOUT_S + n_bytes / SLOWEST_BYTES_S


def unpacked(data: bytes, most: int = MAX_UNPACKED_BYTES) -> Iterator[bytes]:
    """Pieces of what gzipped bytes unpack to; members that follow each other count as one.

    Raises:
        TooLargeError: they unpack to more than `most` bytes.
        zlib.error: they are damaged, or cut short.
    """
    size, rest = 0, data
    while rest:
        unpacker = zlib.decompressobj(wbits=31)
        while rest and not unpacker.eof:
            piece = unpacker.decompress(rest, _CHUNK_BYTES)
            rest = unpacker.unconsumed_tail
            size += len(piece)
            if size > most:
                raise TooLargeError(f"expected at most {most} bytes unpacked, got more: give a path")
            yield piece
        if not unpacker.eof:
            raise zlib.error("cut short")
        # Some writers fill the last block of a file with zeros.
        rest = unpacker.unused_data.lstrip(b"\0")


class TimedProtocol(H11Protocol):
    """HTTP/1.1 whose requests must bring their header in time, so that idle connections do not pile up."""

    header_timeout_s = HEADER_TIMEOUT_S
    _deadline: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(cast(asyncio.Transport, transport))
        self._wait_for_header()

    def data_received(self, data: bytes) -> None:
        before = self.cycle
        if self._deadline is None and (before is None or before.response_complete):
            self._wait_for_header()
        super().data_received(data)
        if self.cycle is not before:
            self._stop_waiting()

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop_waiting()
        super().connection_lost(exc)

    def _wait_for_header(self) -> None:
        self._deadline = self.loop.call_later(self.header_timeout_s, self._close)

    def _stop_waiting(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def _close(self) -> None:
        if not self.transport.is_closing():
            self.transport.close()


class HostCheck:
    """Answers only requests that name this machine: a page of another site that has its own name point here (DNS
    rebinding) is refused. Addresses are let through, for no name can be pointed at them.

    Args:
        names: further names of the server, as clients write them; `*` takes every name.
    """

    def __init__(self, app: ASGIApp, names: Collection[str] = ()) -> None:
        self._app = app
        own = {"localhost", socket.gethostname(), socket.getfqdn()}
        self._names = {name.lower().rstrip(".") for name in (*own, *names)}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and not self.takes(_host_of(scope)):
            message = "expected this server's name or address as Host: start it with --allow-host NAME to take others"
            error: dict[str, Any] = {"message": message, "type": "invalid_request_error", "param": None, "code": 421}
            await JSONResponse({"error": error}, 421)(scope, receive, send)
            return
        await self._app(scope, receive, send)

    def takes(self, host: str) -> bool:
        """Whether a Host header (with or without port) names this server."""
        try:
            name = (urlsplit(f"//{host}").hostname or "").rstrip(".")
            if name in self._names or "*" in self._names:
                return True
            ipaddress.ip_address(name.partition("%")[0])
        except ValueError:
            return False
        return True


def _host_of(scope: Scope) -> str:
    hosts = [value.decode("latin-1") for name, value in scope["headers"] if name == b"host"]
    return hosts[0] if len(hosts) == 1 else ""
