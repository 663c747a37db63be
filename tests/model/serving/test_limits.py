"""What a client may take of the server."""

import gzip
import http.client
import json
import socket
import threading
import zlib
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from model.serving import server as server_module
from model.serving.limits import HostCheck, TimedProtocol, TooLargeError, unpacked
from model.serving.server import Service, make_server


class TestUnpacked:
    @given(st.lists(st.binary(max_size=3000), min_size=1, max_size=3), st.integers(0, 600))
    def test_gives_what_was_packed(self, parts: list[bytes], n_zeros: int) -> None:
        data = b"".join(map(gzip.compress, parts)) + bytes(n_zeros)
        assert b"".join(unpacked(data)) == b"".join(parts)

    def test_stops_at_the_bound_and_not_after_it(self) -> None:
        data = gzip.compress(bytes(50 << 20))
        pieces = unpacked(data, most=3 << 20)
        with pytest.raises(TooLargeError):
            sum(map(len, pieces))

    def test_refuses_what_is_cut_short(self) -> None:
        with pytest.raises(zlib.error):
            list(unpacked(gzip.compress(b"abc" * 100)[:-12]))


class TestHostCheck:
    @pytest.mark.parametrize(
        "host",
        ["localhost", "LOCALHOST:8000", "127.0.0.1:8000", "[::1]:8000", "10.1.2.3", "server.lan", "server.lan.:80"],
    )
    def test_takes_this_machine_and_addresses(self, host: str) -> None:
        assert HostCheck(lambda *_: None, ["Server.lan"]).takes(host)

    @pytest.mark.parametrize(
        "host", ["evil.example", "127.0.0.1.nip.io", "localhost.evil.example", "", ":80", "[::1", "2130706433"]
    )
    def test_refuses_other_names(self, host: str) -> None:
        assert not HostCheck(lambda *_: None, ["server.lan"]).takes(host)

    def test_takes_any_where_that_is_said(self) -> None:
        assert HostCheck(lambda *_: None, ["*"]).takes("evil.example")


class NoModel(Service):
    """A service whose requests never reach a model."""

    def __init__(self) -> None:
        self.model_name = "petar"


@pytest.fixture
def port(monkeypatch: pytest.MonkeyPatch) -> Iterator[int]:
    monkeypatch.setattr(TimedProtocol, "header_timeout_s", 0.3)
    monkeypatch.setattr(server_module, "body_timeout_s", lambda n_bytes: 0.3)
    running, bound = make_server(NoModel(), "127.0.0.1", 0)
    thread = threading.Thread(target=running.run, kwargs={"sockets": [bound]}, daemon=True)
    thread.start()
    yield bound.getsockname()[1]
    running.should_exit = True
    thread.join(timeout=10)
    bound.close()


def answer(connection: socket.socket) -> bytes:
    connection.settimeout(10)
    found = b""
    while piece := connection.recv(4096):
        found += piece
    return found


class TestServer:
    @pytest.mark.parametrize("sent", [b"", b"POST /v1/chat/completions HTTP/1.1\r\nHost: 127.0.0.1\r\nX-A: "])
    def test_closes_a_connection_whose_header_does_not_come(self, port: int, sent: bytes) -> None:
        with socket.create_connection(("127.0.0.1", port)) as connection:
            connection.sendall(sent)
            assert answer(connection) == b""

    def test_closes_a_connection_whose_second_header_does_not_come(self, port: int) -> None:
        with socket.create_connection(("127.0.0.1", port)) as connection:
            connection.sendall(b"GET /health HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
            connection.settimeout(10)
            assert b"200" in connection.recv(4096)
            connection.sendall(b"GET /health HTTP/1.1\r\nHost: 127")
            assert b"200" not in answer(connection)

    def test_answers_a_body_that_does_not_come_with_408(self, port: int) -> None:
        with socket.create_connection(("127.0.0.1", port)) as connection:
            connection.sendall(b"POST /v1/chat/completions HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 99\r\n\r\n{")
            assert answer(connection).startswith(b"HTTP/1.1 408")

    def test_refuses_a_foreign_host(self, port: int) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
        connection.request("GET", "/health", headers={"Host": "evil.example"})
        response = connection.getresponse()
        assert response.status == 421
        assert "--allow-host" in json.loads(response.read())["error"]["message"]

    @pytest.mark.parametrize("body", [b"[" * 200_000, b"\xff", b"{"])
    def test_a_body_that_is_no_json_is_refused(self, port: int, body: bytes) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
        connection.request("POST", "/v1/chat/completions", body)
        assert connection.getresponse().status == 400
