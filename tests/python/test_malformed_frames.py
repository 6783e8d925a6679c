"""Nonsense on the sockets of a live session: its connection is closed, and nothing else notices."""

from __future__ import annotations

import os
import random
import socket
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import rayc

REQUEST, ONE_WAY, REPLY, ERROR_REPLY = range(4)
HELLO = 1
PROTOCOL_VERSION = 3
METHODS = [HELLO, *range(99, 113), *range(199, 220), *range(299, 312), *range(399, 411), 0, 65535]
PAYLOAD_BYTES_MAX = 512 << 20


@rayc.remote
class Echo:
    def echo(self, value: Any) -> Any:
        return value


@pytest.fixture
def sockets(rayc_session: Any) -> Iterator[list[str]]:
    """All sockets of a session in which a worker, an actor and the store are busy.

    After the test, the session and everybody in it must still work.
    """
    actor = Echo.remote()
    assert rayc.get(actor.echo.remote(1)) == 1
    large = rayc.put(bytes(1_000_000))
    folder = Path(rayc_session.address_info["session_dir"], "sockets")
    yield sorted(str(path) for path in folder.iterdir())
    assert rayc.get(actor.echo.remote(2)) == 2
    assert rayc.get(rayc.remote(lambda x: len(x)).remote(large)) == 1_000_000
    assert rayc.get(rayc.put(bytes(2_000_000))) == bytes(2_000_000)
    assert len(rayc.nodes()) == 1


def frame(method: int, kind: int, payload: bytes, flags: int = 0, request_id: int = 1) -> bytes:
    """Return a message as it travels: see src/common/frame.h."""
    padding = bytes(-len(payload) % 8)
    header = struct.pack("<IHBBQ", len(payload), method, kind, flags, request_id)
    return header + payload + padding


def hello(version: int = PROTOCOL_VERSION, component: bytes = b"driver") -> bytes:
    """Return the first message of a connection, a FlatBuffer made by hand."""
    vtable = struct.pack("<HH5Hxx", 14, 24, 4, 8, 12, 16, 20)

    def text(value: bytes) -> bytes:
        return struct.pack("<I", len(value)) + value + bytes(4 - len(value) % 4)

    name, ident, kind = text(b"9.9"), struct.pack("<I", 28) + bytes(range(28)), text(component)
    at_name = 4 + len(vtable) + 24
    at_id = at_name + len(name)
    at_kind = at_id + len(ident)
    table = 4 + len(vtable)
    fields = struct.pack(
        "<iIIIiI",
        len(vtable),
        version,
        at_name - (table + 8),
        at_id - (table + 12),
        os.getpid(),
        at_kind - (table + 20),
    )
    return frame(HELLO, REQUEST, struct.pack("<I", table) + vtable + fields + name + ident + kind)


def talk(path: str, data: bytes) -> bytes:
    """Send bytes, and return what comes back until the other side closes, or 0.2 s."""
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        connection.settimeout(0.2)
        connection.connect(path)
        answer = b""
        try:
            connection.sendall(data)
            connection.shutdown(socket.SHUT_WR)
            while more := connection.recv(65536):
                answer += more
        except (TimeoutError, ConnectionError):
            pass
        return answer
    finally:
        connection.close()


def test_there_are_sockets_of_every_kind(sockets: list[str]) -> None:
    names = {os.path.basename(path).split("-")[0] for path in sockets}
    assert names == {"raylet", "gcs", "plasma", "worker"}


def test_random_bytes(sockets: list[str]) -> None:
    source = random.Random(1)
    for path in sockets:
        for size in (1, 15, 16, 17, 1000, 100_000):
            talk(path, source.randbytes(size))


def test_frames_that_no_one_would_send(sockets: list[str]) -> None:
    source = random.Random(2)
    announced_too_large = struct.pack("<IHBBQ", PAYLOAD_BYTES_MAX + 1, HELLO, REQUEST, 0, 1)
    cut_off = struct.pack("<IHBBQ", 1000, HELLO, REQUEST, 0, 1) + b"only this"
    for path in sockets:
        talk(path, announced_too_large)
        talk(path, cut_off)
        talk(path, frame(HELLO, 9, b""))
        talk(path, frame(HELLO, REQUEST, b"", flags=1))
        talk(path, frame(HELLO, REQUEST, b""))
        talk(path, frame(HELLO, REPLY, source.randbytes(64)))
        talk(path, frame(HELLO, ERROR_REPLY, source.randbytes(64), request_id=2**64 - 1))


@pytest.mark.parametrize("introduced", [False, True], ids=["stranger", "introduced"])
def test_every_method_with_random_payloads(sockets: list[str], introduced: bool) -> None:
    source = random.Random(3)
    for path in sockets:
        for method in METHODS:
            data = hello() if introduced else b""
            data += b"".join(
                frame(method, kind, source.randbytes(size), request_id=source.getrandbits(64))
                for kind in (REQUEST, ONE_WAY)
                for size in (0, 8, 64)
            )
            talk_briefly(path, data)


def test_a_peer_of_another_protocol_version(sockets: list[str]) -> None:
    for path in sockets:
        if path.endswith("plasma"):
            continue  # its first message is another one
        assert b"cannot talk" not in talk(path, hello())
        answer = talk(path, hello(99)).decode(errors="replace")
        ours = f"protocol version {PROTOCOL_VERSION}"
        assert f"protocol version 99 (rayc 9.9) cannot talk to {ours}" in answer
        assert f"{ours} (rayc " in answer


def test_introduced_peers_that_break_off(sockets: list[str]) -> None:
    whole = hello()
    for path in sockets:
        for size in range(0, len(whole), 7):
            talk_briefly(path, whole[:size])
        answer = talk(path, whole + whole + frame(100, REQUEST, b"x" * 3))
        assert answer or path.endswith("plasma")


# Orders to leave, which are obeyed: whoever may connect may also kill the process.
ORDERS = (305, 306)


def test_every_method_with_well_formed_messages_of_another_kind(sockets: list[str]) -> None:
    # They pass some of the verifier's checks, and reach the handlers.
    source = random.Random(4)
    shape = hello()[16:]
    for path in sockets:
        first = plasma_hello() if path.endswith("plasma") else hello()
        for method in METHODS:
            if method in ORDERS:
                continue
            data = first
            for _ in range(20):
                payload = bytearray(shape)
                for _ in range(source.randrange(6)):
                    payload[source.randrange(len(payload))] = source.choice((0, 1, 4, 8, 127, 255))
                kind = source.choice((REQUEST, ONE_WAY))
                data += frame(method, kind, bytes(payload), request_id=source.getrandbits(64))
            talk_briefly(path, data)


def plasma_hello() -> bytes:
    """Return the first message of a connection to the store (PlasmaConnect)."""
    vtable = struct.pack("<HHHHHH", 12, 16, 4, 8, 12, 0)
    table = struct.pack("<iIIi", len(vtable), PROTOCOL_VERSION, 8, os.getpid())
    version = struct.pack("<I", 3) + b"9.9\0"
    payload = struct.pack("<I", 4 + len(vtable)) + vtable + table + version
    return frame(400, REQUEST, payload)


def test_the_store_of_another_protocol_version(sockets: list[str]) -> None:
    (path,) = [path for path in sockets if path.endswith("plasma")]
    assert b"protocol" not in talk(path, plasma_hello())
    other = plasma_hello().replace(
        struct.pack("<II", PROTOCOL_VERSION, 8), struct.pack("<II", 99, 8)
    )
    answer = talk(path, other)
    assert (
        b"rayc 9.9 with protocol 99" in answer
        and f"with protocol {PROTOCOL_VERSION}".encode() in answer
    )


def talk_briefly(path: str, data: bytes) -> None:
    """Send bytes and hang up."""
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    connection.connect(path)
    try:
        connection.sendall(data)
    except ConnectionError:
        pass  # closed already: it has seen enough
    connection.close()


def test_connections_that_say_nothing(sockets: list[str]) -> None:
    silent = []
    for path in sockets:
        for _ in range(20):
            connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            connection.connect(path)
            silent.append(connection)
    assert rayc.get(rayc.remote(lambda: 1).remote()) == 1
    for connection in silent:
        connection.close()
