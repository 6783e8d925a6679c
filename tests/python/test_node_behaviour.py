"""How a node behaves: what users of such systems have suffered from elsewhere."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from drivers import ROOT, session_processes, wait_until

import rayc


def workers() -> list[int]:
    """Return the processes that are workers."""
    return [
        pid
        for pid, command in session_processes().items()
        if command.startswith("rayc::") and "zygote" not in command
    ]


def threads_of(pid: int) -> list[str]:
    return [
        Path(f"/proc/{pid}/task/{thread}/comm").read_text().strip()
        for thread in os.listdir(f"/proc/{pid}/task")
    ]


def test_what_no_node_can_hold_fails_within_a_second(rayc_session: Any) -> None:
    @rayc.remote(num_cpus=7, resources={"licence": 2})
    def large() -> None:
        pass

    rayc.get(rayc.put(1))
    begin = time.monotonic()
    with pytest.raises(rayc.exceptions.TaskUnschedulableError) as caught:
        rayc.get(large.remote(), timeout=30)
    assert time.monotonic() - begin < 1
    text = str(caught.value)
    assert "CPU" in text and "7" in text and "licence" in text and "2" in text


def test_idle_workers_beyond_the_cpus_leave(rayc_session: Any) -> None:
    @rayc.remote(num_cpus=0)
    def meet(folder: str, count: int) -> None:
        Path(folder, str(os.getpid())).touch()
        while len(os.listdir(folder)) < count:
            time.sleep(0.01)

    folder = Path(rayc_session.address_info["session_dir"], "meeting")
    folder.mkdir()
    rayc.get([meet.remote(str(folder), 6) for _ in range(6)], timeout=60)
    assert len(workers()) >= 6
    assert wait_until(lambda: len(workers()) <= 2, 15), session_processes()
    assert rayc.get(rayc.remote(lambda: 1).remote()) == 1


def test_a_worker_has_few_threads(rayc_session: Any) -> None:
    @rayc.remote
    class Actor:
        def threads(self) -> list[str]:
            import numpy as np

            np.ones((200, 200)) @ np.ones((200, 200))
            rayc.get(rayc.put(bytes(1_000_000)))
            return threads_of(os.getpid())

    @rayc.remote
    def threads() -> list[str]:
        rayc.get(rayc.put(bytes(1_000_000)))
        return threads_of(os.getpid())

    actor = Actor.remote()
    for found in rayc.get([actor.threads.remote(), threads.remote()]):
        assert len(found) <= 4, found


def test_workers_start_when_they_are_needed(rayc_session: Any) -> None:
    rayc.shutdown()
    rayc.init(num_cpus=16)
    assert rayc.get(rayc.remote(lambda: 1).remote()) == 1
    time.sleep(0.5)
    assert len(workers()) <= 2


def test_ctrl_c_interrupts_at_once(rayc_session: Any) -> None:
    @rayc.remote
    def forever() -> None:
        time.sleep(1000)

    ref = forever.remote()
    main = threading.main_thread().ident
    assert main is not None
    for call in (lambda: rayc.get(ref), lambda: rayc.wait([ref]), lambda: rayc.get([ref, ref])):
        when: list[float] = []

        def press(when: list[float] = when) -> None:
            when.append(time.monotonic())
            signal.pthread_kill(main, signal.SIGINT)

        timer = threading.Timer(0.2, press)
        timer.start()
        with pytest.raises(KeyboardInterrupt):
            call()
        assert time.monotonic() - when[0] < 0.5
        timer.join()


def test_two_clusters_of_one_user_never_meet(start_driver: Callable[..., Any]) -> None:
    code = """
import os, rayc, sys
rayc.init(num_cpus=1, namespace="same")
@rayc.remote
class Actor:
    def pid(self):
        return os.getpid()
try:
    rayc.get_actor("name")
    print("MET", flush=True)
except ValueError:
    pass
actor = Actor.options(name="name", lifetime="detached").remote()
rayc.get(actor.pid.remote())
print("NODES", len(rayc.nodes()), flush=True)
import time; time.sleep(100)
"""
    first = start_driver(code)
    assert first.read_until("NODES") == "1"
    second = start_driver(code)
    assert second.read_until("NODES") == "1"
    second.process.send_signal(signal.SIGTERM)
    second.finish()
    assert first.process.poll() is None
    assert len(workers()) >= 1
    first.process.send_signal(signal.SIGTERM)
    first.finish()


def test_logs_are_bounded(rayc_session: Any) -> None:
    rayc.shutdown()
    info = rayc.init(num_cpus=1, log_to_driver=False).address_info

    @rayc.remote
    def chatter() -> None:
        line = "x" * 999
        for _ in range(60_000):
            print(line)

    rayc.get(chatter.remote(), timeout=90)
    logs = Path(info["session_dir"], "logs")
    assert sum(file.stat().st_size for file in logs.iterdir()) < 40_000_000


def test_the_folders_are_private_whatever_the_umask() -> None:
    before = os.umask(0)
    try:
        info = rayc.init(num_cpus=1).address_info
    finally:
        os.umask(before)
    session = Path(info["session_dir"])
    assert str(session).startswith(ROOT)
    for folder in (session.parent, session, session / "sockets", session / "logs"):
        assert folder.stat().st_mode & 0o077 == 0


# Cores of one's own ----------------------------------------------------------------------


@rayc.remote
def cores() -> set[int]:
    return os.sched_getaffinity(0)


@rayc.remote
class Cores:
    def of_all_threads(self) -> list[set[int]]:
        return [os.sched_getaffinity(int(thread)) for thread in os.listdir("/proc/self/task")]


ALL = os.sched_getaffinity(0)
needs_two_cores = pytest.mark.skipif(len(ALL) < 2, reason="this machine has one core")


@needs_two_cores
def test_workers_are_pinned_to_the_cores_that_they_hold() -> None:
    rayc.init(num_cpus=2, cpu_isolation="affinity")
    assert len(rayc.get(cores.remote())) == 1
    assert len(rayc.get(cores.options(num_cpus=2).remote())) == 2
    assert len(rayc.get(cores.options(num_cpus=0.5).remote())) == 1
    assert rayc.get(cores.options(num_cpus=0).remote()) == ALL
    one, two = Cores.options(num_cpus=1).remote(), Cores.options(num_cpus=1).remote()
    of_one, of_two = rayc.get([one.of_all_threads.remote(), two.of_all_threads.remote()])
    assert all(len(found) == 1 and found == of_one[0] for found in of_one), of_one
    assert all(len(found) == 1 and found == of_two[0] for found in of_two), of_two
    assert of_one[0] != of_two[0]
    # An actor that holds no CPU may run anywhere.
    rayc.kill(one)
    free = Cores.remote()
    assert rayc.get(free.of_all_threads.remote(), timeout=30)[0] == ALL


def test_nobody_is_pinned_by_default(rayc_session: Any) -> None:
    assert rayc.get(cores.remote()) == ALL


def test_more_cpus_than_cores() -> None:
    with pytest.raises(ValueError, match="core"):
        rayc.init(num_cpus=len(ALL) + 1, cpu_isolation="affinity")
    assert not rayc.is_initialized()
