"""`rayc memory`, run as a program of its own against sessions of the tests."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from drivers import ROOT, wait_until

import rayc

MB = 2**20


def memory(*arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "rayc.scripts.cli", "memory", *arguments],
        capture_output=True,
        text=True,
        timeout=60,
        env={**os.environ, **variables},
    )


def table(*arguments: str) -> list[dict[str, str]]:
    """Run it, and return its rows by the names of the columns."""
    done = memory(*arguments)
    assert done.returncode == 0, done.stdout + done.stderr
    rows = []
    header: list[str] = []
    for line in done.stdout.splitlines():
        cells = re.split(r" {2,}", line.strip())
        if cells[0] == "PID":
            header = cells
        elif not cells[0]:
            header = []
        elif header and not line.startswith("..."):
            rows.append(dict(zip(header, cells, strict=False)))
    return rows


def rows_for(ref: Any, *arguments: str) -> list[dict[str, str]]:
    return [row for row in table(*arguments) if row["OBJECT ID"] == ref.hex()]


@pytest.fixture
def recording(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("RAYC_record_ref_creation_sites", "1")
    rayc.init(num_cpus=2)
    yield
    rayc.shutdown()


@pytest.mark.usefixtures("rayc_session")
def test_objects_of_the_driver() -> None:
    small = rayc.put("hello")
    large = rayc.put(np.zeros(MB, np.uint8))
    [row] = rows_for(small)
    assert (row["PID"], row["OWNER"]) == (str(os.getpid()),) * 2
    assert row["TYPE"] == "Driver"
    assert row["WHERE"] == "owner's memory"
    assert row["REFERENCES"] == "LOCAL_REFERENCE"
    assert row["CALL SITE"] == "disabled"
    [row] = rows_for(large)
    assert row["WHERE"] == "arena"
    assert MB < int(row["SIZE"].removesuffix(" B")) < MB + 1000
    assert row["REFERENCES"] == "LOCAL_REFERENCE"

    view = rayc.get(large)
    outer = rayc.put([large])
    [row] = rows_for(large, "--units=mb")
    assert row["SIZE"] == "1.000 MB"
    assert set(row["REFERENCES"].split(",")) == {
        "LOCAL_REFERENCE",
        "CAPTURED_IN_OBJECT",
        "PINNED_IN_MEMORY",
    }
    del view, outer, large
    assert wait_until(lambda: not [row for row in table() if row["WHERE"] == "arena"])


@pytest.mark.usefixtures("rayc_session")
def test_borrowed_pending_and_handles() -> None:
    @rayc.remote
    class Keeper:
        def keep(self, refs: list[Any]) -> int:
            self.refs = refs
            return os.getpid()

        def sleep(self) -> None:
            time.sleep(60)

    keeper = Keeper.remote()
    ref = rayc.put(np.zeros(MB, np.uint8))
    pid = rayc.get(keeper.keep.remote([ref]))
    pending = keeper.sleep.remote()  # and answers all the same
    argument = rayc.put("for a call that waits")
    waiting = keeper.keep.remote(argument)

    rows = {row["PID"]: row for row in rows_for(ref)}
    assert set(rows) == {str(pid), str(os.getpid())}
    borrowed = rows[str(pid)]
    assert borrowed["TYPE"] == "Worker"
    assert borrowed["OWNER"] == str(os.getpid())
    assert borrowed["WHERE"] == "arena"
    assert "BORROWED" in borrowed["REFERENCES"].split(",")
    assert "BORROWED_BY_OTHERS" in rows[str(os.getpid())]["REFERENCES"]

    [row] = rows_for(pending)
    assert row["WHERE"] == "pending"
    [row] = rows_for(argument)
    assert "USED_BY_PENDING_TASK" in row["REFERENCES"]
    [row] = [row for row in table() if "ACTOR_HANDLE" in row["REFERENCES"]]
    assert (row["PID"], row["WHERE"], row["SIZE"]) == (str(os.getpid()), "-", "-")
    del waiting
    rayc.kill(keeper)


def test_creation_sites(recording: None) -> None:
    @rayc.remote
    def make() -> Any:
        return [rayc.put(b"made by a task")]

    @rayc.remote
    class Actor:
        def call(self) -> None: ...

    small = rayc.put(1)
    large = rayc.put(np.zeros(MB, np.uint8))
    made = make.remote()
    actor = Actor.remote()
    called = actor.call.remote()
    inner = rayc.get(made)[0]
    rayc.get(called)

    here = rf"{re.escape(__file__)}:\d+ in .*test_creation_sites"
    for ref in (small, large, made, called):
        assert re.fullmatch(here, ref.call_site()), ref.call_site()
        [row] = rows_for(ref)
        assert row["CALL SITE"] == ref.call_site()
    assert re.fullmatch(rf"{re.escape(__file__)}:\d+ in .*make", rows_for(inner)[0]["CALL SITE"])
    [row] = [row for row in table() if "ACTOR_HANDLE" in row["REFERENCES"]]
    assert re.fullmatch(here, row["CALL SITE"])

    groups = memory("--group-by", "stack_trace", "--stats-only").stdout
    assert f"--- Summary for call site: {large.call_site()} ---" in groups
    assert large.hex() not in groups
    del actor


def test_call_site_without_recording(rayc_session: Any) -> None:
    assert rayc.put(1).call_site() == ""


@pytest.mark.usefixtures("rayc_session")
def test_order_and_length() -> None:
    refs = [rayc.put(np.zeros(n * MB, np.uint8)) for n in (1, 3, 2)]
    rows = table()
    assert [row["OBJECT ID"] for row in rows] == [refs[i].hex() for i in (1, 2, 0)]
    assert len(table("--num-entries", "2")) == 2
    assert "... and 1 more" in memory("--num-entries", "2").stdout
    assert len(table("--sort-by", "PID")) == 3
    stats = memory("--stats-only", "--units", "MB").stdout
    assert refs[0].hex() not in stats
    assert re.search(r"^LOCAL_REFERENCE +3 +6\.00\d MB$", stats, re.MULTILINE)
    assert re.search(r"^Store: 3 objects \(0 spilled\); 6\.\d+ MB used, .* capacity", stats, re.M)


def test_spilled_objects() -> None:
    rayc.init(num_cpus=1, object_store_memory=80 * MB)
    refs = [rayc.put(np.full(20 * MB, n, np.uint8)) for n in range(6)]
    rows = {row["OBJECT ID"]: row for row in table()}
    places = [rows[ref.hex()]["WHERE"] for ref in refs]
    assert places[0] == "spilled"
    assert places[-1] == "arena"
    done = memory("--check", "--units", "MB")
    assert done.returncode == 0, done.stdout
    assert re.search(rf"Store: 6 objects \({places.count('spilled')} spilled\)", done.stdout)


def test_check(rayc_session: Any) -> None:
    ref = rayc.put(np.zeros(MB, np.uint8))
    done = memory("--check")
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"The store of the session {rayc_session.address_info['session_dir']} is consis" in (
        done.stdout
    )
    assert ref.hex() not in done.stdout


def test_a_worker_that_is_stopped_is_named(rayc_session: Any) -> None:
    import signal

    @rayc.remote
    class Actor:
        def pid(self) -> int:
            return os.getpid()

    actor = Actor.remote()
    pid = rayc.get(actor.pid.remote())
    ref = rayc.put(1)
    os.kill(pid, signal.SIGSTOP)
    try:
        begin = time.monotonic()
        done = memory()
        assert time.monotonic() - begin < 10
    finally:
        os.kill(pid, signal.SIGCONT)
    assert done.returncode == 0
    assert f"No answer from worker {pid}: it did not answer within 2000 ms" in done.stdout
    assert ref.hex() in done.stdout


def test_no_session() -> None:
    done = memory()
    assert done.returncode == 1
    assert done.stdout == ""
    assert done.stderr.startswith("rayc memory: no session of this user is running (looked in ")
    assert ROOT in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("address", "complaint"),
    [("/nowhere", "there is no session"), ("/", "not the folder of a session"), ("x", "address")],
)
def test_addresses_of_nothing(address: str, complaint: str) -> None:
    done = memory("--address", address)
    assert done.returncode == 1
    assert complaint in done.stderr
    assert "Traceback" not in done.stderr


def test_a_session_that_has_died(tmp_path: Path) -> None:
    (tmp_path / "sockets").mkdir()
    done = memory("--check", "--address", str(tmp_path))
    assert done.returncode == 1
    assert "cannot connect" in done.stderr
    assert "Traceback" not in done.stderr


def test_the_newest_of_several_sessions(
    rayc_session: Any, start_driver: Callable[..., Any]
) -> None:
    other = start_driver(
        """
        import time
        import rayc

        context = rayc.init(num_cpus=1)
        ref = rayc.put("the other's")
        print("SESSION", context.address_info["session_dir"], ref.hex(), flush=True)
        time.sleep(1000)
        """
    )
    folder, id_hex = other.read_until("SESSION").split()
    own = [rayc.put("mine"), rayc.put("mine too")][1]  # the first ids of sessions are alike
    done = memory()
    assert id_hex in done.stdout
    assert own.hex() not in done.stdout
    mine = rayc_session.address_info["session_dir"]
    assert f"2 sessions are running; this is the newest. The others:\n  --address {mine}" in (
        done.stderr
    )
    for address in (mine, rayc_session.address_info["raylet_socket_name"]):
        done = memory("--address", address)
        assert own.hex() in done.stdout
        assert done.stderr == ""
    assert id_hex in memory(RAYC_ADDRESS=folder).stdout
    other.process.terminate()
    other.process.wait()


def test_a_store_without_a_cluster() -> None:
    from rayc import plasma

    with plasma.start_plasma_store(16 * MB) as (socket, _process):
        client = plasma.connect(socket)
        object_id = client.put(b"x" * 100_000)
        done = memory("--address", socket)
        assert done.returncode == 0, done.stderr
        [line] = [line for line in done.stdout.splitlines() if object_id.hex() in line]
        assert line.split()[0] == str(os.getpid())
        assert memory("--address", socket, "--check").returncode == 0
        client.disconnect()


@pytest.mark.parametrize(
    "arguments", [["--units", "TB"], ["--num-entries", "0"], ["--sort-by", "name"]], ids=" ".join
)
def test_bad_arguments(arguments: list[str]) -> None:
    done = memory(*arguments)
    assert done.returncode == 2
    assert "usage: rayc memory" in done.stderr
