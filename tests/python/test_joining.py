"""A second driver in a running cluster, over its local socket."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from drivers import GONE_WITHIN_S, session_folders, session_processes, wait_until

import rayc

SECOND = """
import os, sys
import rayc

context = rayc.init(address=sys.argv[1], namespace=sys.argv[2])
print("JOINED", context.address_info["session_dir"], flush=True)

@rayc.remote
class Counter:
    def __init__(self):
        self.count = 0
    def add(self):
        self.count += 1
        return self.count
    def pid(self):
        return os.getpid()

@rayc.remote
def square(x):
    return x * x
"""


@pytest.fixture
def first(rayc_session: Any) -> dict[str, Any]:
    """The address of a running cluster, whose namespace is "shared"."""
    rayc.shutdown()
    info: dict[str, Any] = rayc.init(num_cpus=2, namespace="shared").address_info
    return info


@pytest.mark.parametrize("form", ["address", "session_dir", "gcs_address", "raylet_socket_name"])
def test_it_joins_and_only_leaves(
    first: dict[str, Any], run_driver: Callable[..., str], form: str
) -> None:
    out = run_driver(
        SECOND
        + """
print("SUM", sum(rayc.get([square.remote(i) for i in range(10)])))
print("SAME", len(rayc.nodes()), rayc.cluster_resources()["CPU"])
rayc.shutdown()
rayc.shutdown()
print("OUT", rayc.is_initialized())
""",
        first[form],
        "shared",
    )
    assert f"JOINED {first['session_dir']}" in out
    assert "SUM 285" in out
    assert "SAME 1 2.0" in out
    assert "OUT False" in out
    assert len(session_folders()) == 1
    assert rayc.get(rayc.remote(lambda: 5).remote()) == 5


def test_the_variable_rayc_address(first: dict[str, Any], run_driver: Callable[..., str]) -> None:
    out = run_driver(
        "import rayc; print(rayc.get(rayc.put(1)));"
        "print(rayc.get_runtime_context().get_session_name())",
        RAYC_ADDRESS=first["address"],
    )
    assert os.path.basename(first["session_dir"]) in out
    out = run_driver(
        "import rayc; rayc.init(address='local', num_cpus=1);"
        "print(rayc.get_runtime_context().get_session_name())",
        RAYC_ADDRESS=first["address"],
    )
    assert os.path.basename(first["session_dir"]) not in out


def test_named_actors_are_seen_by_both(
    first: dict[str, Any], start_driver: Callable[..., Any]
) -> None:
    @rayc.remote
    class Board:
        def __init__(self) -> None:
            self.notes: list[Any] = []

        def note(self, text: Any) -> list[Any]:
            self.notes.append(text)
            return self.notes

    board = Board.options(name="board").remote()
    assert rayc.get(board.note.remote("first")) == ["first"]
    driver = start_driver(
        SECOND
        + """
board = rayc.get_actor("board")
print("NOTES", rayc.get(board.note.remote("second")), flush=True)
mine = Counter.options(name="mine").remote()
rayc.get(mine.add.remote())
print("READY", flush=True)
import time; time.sleep(100)
""",
        first["address"],
        "shared",
    )
    assert driver.read_until("NOTES") == "['first', 'second']"
    driver.read_until("READY")
    mine = rayc.get_actor("mine")
    assert rayc.get(mine.add.remote()) == 2
    driver.process.kill()
    driver.finish()
    # It was its driver's, and has gone with it.
    assert wait_until(lambda: is_gone("mine"), 5)
    with pytest.raises(rayc.exceptions.ActorDiedError):
        rayc.get(mine.add.remote(), timeout=30)
    assert rayc.get(board.note.remote("third")) == ["first", "second", "third"]


def is_gone(name: str) -> bool:
    try:
        rayc.get_actor(name)
    except ValueError:
        return True
    return False


def test_detached_actors_outlive_their_driver(
    first: dict[str, Any], run_driver: Callable[..., str]
) -> None:
    create = (
        SECOND
        + """
actor = Counter.options(name="detached", lifetime="detached", max_restarts=1).remote()
print("COUNT", rayc.get(actor.add.remote()))
"""
    )
    assert "COUNT 1" in run_driver(create, first["address"], "shared")
    assert rayc.get(rayc.get_actor("detached").add.remote()) == 2
    use = (
        SECOND
        + """
print("COUNT", rayc.get(rayc.get_actor("detached").add.remote()))
"""
    )
    assert "COUNT 3" in run_driver(use, first["address"], "shared")
    # Its code is still there when it restarts.
    actor = rayc.get_actor("detached")
    pid = rayc.get(actor.pid.remote())
    os.kill(pid, 9)
    assert wait_until(lambda: restarted(actor, pid), 10)
    rayc.kill(actor)
    assert wait_until(lambda: is_gone("detached"), 5)


def restarted(actor: Any, before: int) -> bool:
    try:
        return bool(rayc.get(actor.pid.remote(), timeout=5) != before)
    except rayc.exceptions.RayActorError:
        return False


def test_other_namespaces_are_not_seen(
    first: dict[str, Any], run_driver: Callable[..., str]
) -> None:
    @rayc.remote
    class Hidden:
        pass

    hidden = Hidden.options(name="hidden").remote()
    out = run_driver(
        SECOND
        + """
try:
    rayc.get_actor("hidden")
except ValueError as error:
    print("ERROR", error)
print("FOUND", rayc.get_actor("hidden", namespace="shared"))
""",
        first["address"],
        "other",
    )
    assert "ERROR" in out and "FOUND" in out
    del hidden


def test_each_driver_sees_its_own_output(
    first: dict[str, Any], run_driver: Callable[..., str], capfd: pytest.CaptureFixture[str]
) -> None:
    out = run_driver(
        SECOND
        + """
@rayc.remote
def say():
    print("from the second's task")
rayc.get(say.remote())
""",
        first["address"],
        "shared",
    )
    assert "from the second's task" in out
    captured = capfd.readouterr()
    assert "second's" not in captured.out + captured.err


def test_the_jobs_differ(first: dict[str, Any], run_driver: Callable[..., str]) -> None:
    mine = rayc.get_runtime_context().get_job_id()
    out = run_driver(
        SECOND + "print('JOB', rayc.get_runtime_context().get_job_id())", first["address"], "shared"
    )
    assert "JOB" in out and f"JOB {mine}" not in out


def test_it_gets_cpus_that_the_first_has_used(
    first: dict[str, Any], run_driver: Callable[..., str]
) -> None:
    # The first driver keeps its leases for a while; the second must not wait for long.
    rayc.get([rayc.remote(lambda i: i).remote(i) for i in range(100)])
    out = run_driver(
        SECOND + "import time; t = time.time(); rayc.get(square.remote(2));"
        "print('TOOK', time.time() - t)",
        first["address"],
        "shared",
    )
    assert float(out.split("TOOK")[1]) < 3


def test_when_the_owner_ends(start_driver: Callable[..., Any]) -> None:
    owner = start_driver(
        """
import sys, rayc
print("ADDRESS", rayc.init(num_cpus=1).address_info["address"], flush=True)
import time; time.sleep(100)
"""
    )
    address = owner.read_until("ADDRESS")
    rayc.init(address=address)
    assert rayc.get(rayc.remote(lambda: 1).remote()) == 1
    owner.process.kill()
    owner.finish()
    assert wait_until(lambda: not session_processes(), GONE_WITHIN_S)
    with pytest.raises(rayc.exceptions.RayError):
        rayc.get(rayc.remote(lambda: 1).remote(), timeout=30)
    rayc.shutdown()
    assert not session_folders()


def test_what_belongs_to_a_new_cluster_only(first: dict[str, Any]) -> None:
    rayc.shutdown()
    owner = subprocess.Popen(
        [
            sys.executable,
            "-c",
            "import sys, rayc; print(rayc.init(num_cpus=1).address_info['address'], flush=True);"
            "sys.stdin.read()",
        ],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert owner.stdout is not None
        address = owner.stdout.readline().strip()
        for arguments in (
            {"num_cpus": 1},
            {"num_gpus": 0},
            {"resources": {"x": 1}},
            {"object_store_memory": 100 << 20},
            {"_node_name": "x"},
            {"_system_config": {}},
        ):
            with pytest.raises(ValueError, match=next(iter(arguments))):
                rayc.init(address=address, **arguments)
        with pytest.raises(NotImplementedError, match="PYTHONPATH"):
            rayc.init(address=address, runtime_env={"env_vars": {"PYTHONPATH": "/x"}})
        rayc.init(address=address)
        rayc.shutdown()
    finally:
        owner.communicate()


def test_addresses_that_lead_nowhere(tmp_path: Path) -> None:
    with pytest.raises(ConnectionError, match="no session"):
        rayc.init(address=str(tmp_path / "missing"))
    with pytest.raises(ConnectionError, match="not the folder of a session"):
        rayc.init(address=str(tmp_path))
    info = rayc.init(num_cpus=1).address_info
    rayc.shutdown()
    with pytest.raises(ConnectionError):
        rayc.init(address=info["address"])
    # Like the folder of a session that was killed: all is there, but nobody serves.
    fake = fake_session(tmp_path)
    with pytest.raises(ConnectionError, match="cannot connect"):
        rayc.init(address=str(fake))
    assert not rayc.is_initialized()


def fake_session(folder: Path, **versions: str) -> Path:
    from rayc._private import session_versions

    (folder / "sockets").mkdir(exist_ok=True)
    (folder / "logs").mkdir(exist_ok=True)
    session_versions.write(str(folder))
    path = folder / "versions"
    for name, number in versions.items():
        lines = [line for line in path.read_text().splitlines() if not line.startswith(name)]
        path.write_text("\n".join([*lines, f"{name} {number}"]))
    return folder


def test_other_versions(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    session = str(fake_session(tmp_path, rayc="9.9.9"))
    with pytest.raises(RuntimeError, match=r"9\.9\.9") as caught:
        rayc.init(address=session)
    assert rayc._raylet.build_version in str(caught.value)
    here = sys.version_info
    other_patch = f"{here.major}.{here.minor}.{here.micro + 1}"
    fake_session(tmp_path, Python=other_patch)
    with pytest.raises(RuntimeError, match=other_patch):
        rayc.init(address=session)
    monkeypatch.setenv("RAYC_DEFAULT_PYTHON_VERSION_MATCH_LEVEL", "minor")
    with pytest.raises(ConnectionError):  # so far, and no server
        rayc.init(address=session)
    fake_session(tmp_path, Python=f"{here.major}.{here.minor + 1}.0")
    with pytest.raises(RuntimeError):
        rayc.init(address=session)


def test_a_server_of_another_protocol_version(tmp_path: Path) -> None:
    import struct

    session = fake_session(tmp_path)
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(session / "sockets" / "gcs"))
    listener.listen()
    other = socket.socket(socket.AF_UNIX)
    other.bind(str(session / "sockets" / "raylet"))
    other.listen()
    text = b"protocol version 1 (rayc 0.1) cannot talk to protocol version 2 (rayc 9.9)"

    def serve() -> None:
        connection, _ = listener.accept()
        header = connection.recv(16, socket.MSG_WAITALL)
        request_id = struct.unpack("<IHBBQ", header)[4]
        # StatusMessage {code: 16 (VersionMismatch), message}, as a FlatBuffer made by hand.
        vtable = struct.pack("<HHHH", 8, 12, 4, 8)
        table = struct.pack("<iB3xI", 8, 16, 4)
        payload = struct.pack("<I", 12) + vtable + table + struct.pack("<I", len(text)) + text
        payload += bytes(4 - len(text) % 4)
        frame = struct.pack("<IHBBQ", len(payload), 1, 3, 0, request_id) + payload
        connection.sendall(frame + bytes(-len(payload) % 8))
        connection.recv(1 << 16)
        connection.close()

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        with pytest.raises(RuntimeError, match=r"version 1 .*version 2 \(rayc 9\.9\)"):
            rayc.init(address=str(session))
    finally:
        thread.join()
        listener.close()
        other.close()
