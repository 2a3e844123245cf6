"""HTTP/1.1 as RFC 9110 and 9112 have it, byte by byte on real sockets."""

from __future__ import annotations

import os
import socket
import ssl
import struct
import subprocess
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from tests.serve.http_server import USUAL, Running, bodies, get, post, read_all, read_some, read_until, running


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    folder = tmp_path_factory.mktemp("http")
    (folder / "large").write_bytes(bytes(range(256)) * 40_000)
    (folder / "none").write_bytes(b"")
    with running(folder) as found:
        yield found


def test_requests_that_come_at_once_are_answered_in_order(server: Running) -> None:
    sent = [get("/slow?seconds=0.2"), *(post("/echo", b"%d" % number) for number in range(50)), get("/echo?last")]
    wanted = [b"/slow?seconds=0.2", *(b"%d" % number for number in range(50)), b"/echo?last"]
    assert bodies(server.say(b"".join(sent))) == wanted  # the client has closed its half before the first answer


@pytest.mark.parametrize("step", [1, 3, 1000])
def test_requests_may_come_in_any_pieces(server: Running, step: int) -> None:
    chunked = (
        get("/echo", "Transfer-Encoding: chunked", method="POST") + b"3\r\nabc\r\n1;x=y\r\nd\r\n0\r\nTrailer: 1\r\n\r\n"
    )
    text = b"\r\n" + post("/echo", b"one") + chunked + get("/echo")
    pieces = [text[begin : begin + step] for begin in range(0, len(text), step)]
    assert bodies(server.say(*pieces)) == [b"one", b"abcd", b"/echo"]


def test_large_bodies_wait_at_the_client_for_those_before_them(server: Running) -> None:
    large = [bytes([number]) * (3 << 20) for number in range(6)]
    sent = get("/slow?seconds=0.3") + b"".join(post("/echo", body) for body in large)
    found: list[bytes] = []
    with server.connect() as client:
        thread = threading.Thread(target=lambda: found.append(read_all(client)))
        thread.start()
        client.sendall(sent)
        client.shutdown(socket.SHUT_WR)
        thread.join(20)
    assert bodies(found[0]) == [b"/slow?seconds=0.3", *large]


def test_a_long_body_before_a_head_does_not_count_as_head(server: Running) -> None:
    text = post("/echo", b"x" * 50_000) + get("/echo", "X-Long: " + "y" * 3000)
    assert bodies(server.say(text[:-10], text[-10:])) == [b"x" * 50_000, b"/echo"]


def test_head_has_the_head_of_get(server: Running) -> None:
    for target in ("/echo", "/file/large"):
        head = server.say(get(target, "X-Request-Id: a", method="HEAD"))
        whole = server.say(get(target, "X-Request-Id: a"))
        date = b"\r\nDate: "
        assert head.endswith(b"\r\n\r\n")
        assert head.partition(date)[0] == whole.partition(date)[0]
        assert head.split(b"\r\n")[2:] == [*whole.partition(b"\r\n\r\n")[0].split(b"\r\n")[2:], b"", b""]


def test_a_204_has_no_length(server: Running) -> None:
    found = server.say(get("/echo", method="DELETE"))
    assert found.startswith(b"HTTP/1.1 204 No Content\r\n")
    assert found.endswith(b"\r\n\r\n")
    assert b"content-" not in found.lower()


@pytest.mark.parametrize(
    ("version", "line", "stays", "told"),
    [
        ("1.1", "X: y", True, b""),
        ("1.1", "Connection: close", False, b"close"),
        ("1.0", "X: y", False, b"close"),
        ("1.0", "Connection: Keep-Alive", True, b"keep-alive"),
    ],
)
def test_which_connections_stay(server: Running, version: str, line: str, stays: bool, told: bytes) -> None:
    with server.connect() as client:
        client.sendall(get("/echo", line, version=version))
        found = read_until(client, b"/echo")
        assert found.partition(b"Connection: ")[2].partition(b"\r\n")[0] == told
        if stays:
            client.sendall(get("/echo?again", "Connection: close"))
            assert bodies(read_all(client)) == [b"/echo?again"]
        else:
            assert read_all(client) == b""


def test_expect_is_answered_before_the_body_comes(server: Running) -> None:
    with server.connect() as client:
        client.sendall(get("/echo", "Content-Length: 3", "Expect: 100-continue", method="POST"))
        assert read_until(client, b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
        client.sendall(b"abc")
        assert read_until(client, b"abc").startswith(b"HTTP/1.1 200 OK")
        # Behind a request that is still answered it is its turn afterwards.
        client.sendall(
            get("/slow?seconds=0.2") + get("/count", "Content-Length: 2", "Expect: 100-continue", method="POST")
        )
        found = read_until(client, b"100 Continue\r\n\r\n")
        assert found.startswith(b"HTTP/1.1 200 OK")
        client.sendall(b"de")
        assert read_until(client, b"\r\n\r\n2").startswith(b"HTTP/1.1 200 OK")


@pytest.mark.parametrize(("target", "size", "status"), [("/nothing", 3, b"404"), ("/small", 2000, b"413")])
def test_expect_is_refused_before_the_body_comes(server: Running, target: str, size: int, status: bytes) -> None:
    with server.connect() as client:
        client.sendall(get(target, f"Content-Length: {size}", "Expect: 100-continue", method="POST"))
        found = read_all(client)
    assert found.startswith(b"HTTP/1.1 " + status)
    assert b"Connection: close" in found


@pytest.mark.parametrize(
    ("text", "status"),
    [
        (b"GET /echo HTTP/1.1\r\n\r\n", 400),  # no Host
        (get("/echo", "Host: b"), 400),
        (get("/echo", "Transfer-Encoding: gzip, chunked", method="POST"), 501),
        (b"GET /echo HTTP/2.0\r\nHost: a\r\n\r\n", 505),
        (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 400),
        (b"GET /echo\r\n\r\n", 505),
        (b"GET /echo HTTP/1.1\nHost: a\n\n", 400),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", 400),  # TLS
        (get("/echo", "X: " + "y" * 5000), 431),
        (get("/fail"), 500),
        (get("/file/absent"), 500),
        (get("/nothing"), 404),
        (get("/echo", method="PUT"), 405),
        (get("*", method="OPTIONS"), 404),
        (b"CONNECT a:80 HTTP/1.1\r\nHost: a\r\n\r\n", 404),
        (post("/small", b"x" * 1001), 413),
        (get("/small", "Transfer-Encoding: chunked", method="POST") + b"3e9\r\n" + b"x" * 1001 + b"\r\n0\r\n\r\n", 413),
    ],
)
def test_what_is_refused(server: Running, text: bytes, status: int) -> None:
    found = server.say(text)
    assert found.startswith(b"HTTP/1.1 %d " % status), found
    assert b"Traceback" not in found
    assert len(bodies(found)) == 1


def test_a_refusal_leaves_the_requests_before_it_alone(server: Running) -> None:
    found = server.say(get("/slow?seconds=0.2") + get("/echo") + b"nonsense\r\n\r\n")
    assert bodies(found)[:2] == [b"/slow?seconds=0.2", b"/echo"]
    assert b"HTTP/1.1 400 " in found


def test_proxies_may_send_whole_targets(server: Running) -> None:
    assert bodies(server.say(get("http://a/echo?x"))) == [b"/echo?x"]


def test_headers_of_answers_stay_one_line(server: Running) -> None:
    assert b"\r\nX-Odd: a Set-Cookie: b ??\r\n" in server.say(get("/odd"))


def test_streams(server: Running) -> None:
    size = 20 << 20
    found = server.say(post("/count", bytes(size)) + post("/stall", bytes(size // 4)) + get("/echo"))
    assert bodies(found) == [str(size).encode(), str(size // 4).encode(), b"/echo"]


def test_a_stream_that_is_refused_early_gets_its_answer(server: Running) -> None:
    with server.connect() as client:
        client.sendall(get("/count?early", f"Content-Length: {60 << 20}", method="POST") + b"x" * 100_000)
        assert bodies(read_all(client)) == [b'{"error":"not this one"}']


def test_a_stream_that_breaks_off_is_told(server: Running) -> None:
    with server.connect() as client:
        client.sendall(get("/count", "Content-Length: 10", method="POST") + b"abc")
        client.shutdown(socket.SHUT_WR)
        assert b"ended before it was whole" in read_all(client)


def test_files_go_whole_to_slow_readers(server: Running) -> None:
    wanted = bytes(range(256)) * 40_000
    with server.connect() as client:
        client.sendall(get("/file/large") + get("/file/none") + get("/echo"))
        time.sleep(0.3)
        found = b""
        while not found.endswith(b"/echo"):
            found += client.recv(1 << 18)
            time.sleep(0.002)
    assert bodies(found) == [wanted, b"", b"/echo"]


def test_bodies_that_are_not_whole_have_a_bound_together(tmp_path: Path) -> None:
    with running(tmp_path, replace(USUAL, all_bodies=1_000_000)) as server:
        clients = [server.connect() for _ in range(3)]
        for client in clients[:2]:
            client.sendall(post("/echo", bytes(500_000))[:-100_000])
        clients[2].sendall(post("/echo", bytes(500_000)))
        refused = read_all(clients[2])
        assert refused.startswith(b"HTTP/1.1 503 ")
        assert b"\r\nRetry-After: 1\r\n" in refused
        clients[0].sendall(bytes(100_000))
        assert bodies(read_until(clients[0], bytes(500_000))) == [bytes(500_000)]
        clients[1].close()
        time.sleep(0.1)
        assert server.listener.connections.body_bytes == 0
        assert bodies(server.say(post("/echo", bytes(900_000)))) == [bytes(900_000)]
        for client in clients:
            client.close()


def test_a_file_that_becomes_shorter_is_seen_to_be_broken(tmp_path: Path) -> None:
    with running(tmp_path) as server:
        (tmp_path / "a").write_bytes(bytes(64 << 20))
        with server.connect() as client:
            client.sendall(get("/file/a"))
            client.recv(1000)
            os.truncate(tmp_path / "a", 1000)
            assert len(read_some(client)) < 64 << 20
        assert bodies(server.say(get("/echo"))) == [b"/echo"]


def test_who_does_not_read_is_closed_and_who_waits_is_not(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(bytes(64 << 20))
    limits = replace(USUAL, write_seconds=0.5, idle_seconds=0.5, head_seconds=0.5, body_seconds=0.5)
    with (
        running(tmp_path, limits) as server,
        server.connect() as waiting,
        server.connect() as stuck,
        server.connect() as silent,
        server.connect() as slow,
    ):
        stuck.sendall(get("/file/a"))
        slow.sendall(get("/stall", "Content-Length: 1000000", method="POST") + bytes(500_000))  # and no more
        waiting.sendall(get("/slow?seconds=1.6", "Connection: close"))
        assert bodies(read_all(waiting)) == [b"/slow?seconds=1.6"]
        assert read_all(silent) == b""
        assert b"did not arrive in time" in read_all(slow)
        assert len(read_some(stuck)) < 64 << 20


def test_clients_that_vanish_leave_others_alone(server: Running) -> None:
    reset = struct.pack("ii", 1, 0)
    for text in (b"", b"GET", get("/slow?seconds=0.1"), get("/file/large"), post("/count", b"abc")[:-1]):
        for _ in range(5):
            with server.connect() as client:
                client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, reset)
                client.sendall(text)
    assert bodies(server.say(get("/echo"))) == [b"/echo"]


def test_a_drain_answers_all_that_was_accepted(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(bytes(8 << 20))
    with running(tmp_path, replace(USUAL, head_seconds=20), drains=False) as server:
        working, kept, new, half, reading = (server.connect() for _ in range(5))
        working.sendall(get("/slow?seconds=1"))
        kept.sendall(get("/echo"))
        read_until(kept, b"/echo")
        half.sendall(post("/echo", b"abc")[:-2])
        reading.sendall(get("/file/a"))
        drained: list[bool] = []
        thread = threading.Thread(target=lambda: drained.append(server.drain()))
        thread.start()
        time.sleep(0.3)
        kept.sendall(get("/echo?kept"))
        assert bodies(read_all(kept)) == [b"/echo?kept"]
        with pytest.raises(OSError):  # noqa: PT011 - refused, or not answered
            socket.create_connection(server.address, timeout=0.3)
        half.sendall(b"bc")
        assert bodies(read_all(half)) == [b"abc"]
        time.sleep(1.2)
        new.sendall(get("/echo?new"))  # it has not said a word so far
        assert bodies(read_all(new)) == [b"/echo?new"]
        assert bodies(read_all(working)) == [b"/slow?seconds=1"]
        assert bodies(read_all(reading)) == [bytes(8 << 20)]
        for client in (working, kept, new, half, reading):
            client.close()
        thread.join(20)
        assert drained == [True]


def test_tls(tmp_path: Path) -> None:
    certificate, key = tmp_path / "certificate", tmp_path / "key"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2",
         "-keyout", str(key), "-out", str(certificate), "-subj", "/CN=localhost"],
        check=True, capture_output=True,
    )  # fmt: skip
    from ludocast.serve.http.listen import tls

    trusting = ssl.create_default_context(cafile=str(certificate))
    trusting.check_hostname = False
    (tmp_path / "large").write_bytes(bytes(4 << 20))
    with running(tmp_path, context=tls(certificate, key), drains=False) as server:
        with server.connect() as plain:
            plain.sendall(get("/echo"))
            assert b"HTTP/1.1 200" not in read_all(plain)
        with trusting.wrap_socket(server.connect()) as client:
            client.sendall(post("/echo", b"abc") + get("/file/large") + post("/stall", bytes(4 << 20)))
            client.sendall(get("/echo", "Connection: close"))
            assert bodies(read_all(client)) == [b"abc", bytes(4 << 20), b"4194304", b"/echo"]
        # A handshake that has begun when the server is told to stop is ended, and its request answered.
        with server.connect() as failing:
            failing.sendall(b"GET / HTTP/1.1\r\n\r\n")
        late = server.connect()
        time.sleep(0.1)
        thread = threading.Thread(target=server.drain)
        thread.start()
        time.sleep(1)
        with trusting.wrap_socket(late) as client:
            client.sendall(get("/echo?late"))
            assert bodies(read_all(client)) == [b"/echo?late"]
        thread.join(20)
