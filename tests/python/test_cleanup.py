"""However a driver ends, nothing of its session is left: no process, no folder."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from drivers import (
    GONE_WITHIN_S,
    ROOT,
    session_folders,
    session_processes,
    wait_until,
)

import rayc

# Starts tasks, an actor, and processes that these start; says READY, and ends as it is told.
DRIVER = """
import os, signal, subprocess, sys, time
import rayc

rayc.init(num_cpus=2)

@rayc.remote
def spawn():
    # One that would stay, and one that has left its parent and its session.
    subprocess.Popen(["sleep", "1000"])
    subprocess.Popen(["sleep", "1001"], start_new_session=True)
    return os.getpid()

@rayc.remote
class Actor:
    def ping(self):
        return os.getpid()

@rayc.remote
def run_long():
    time.sleep(1000)

actor = Actor.remote()
rayc.get([spawn.remote(), actor.ping.remote()])
running = run_long.remote()
time.sleep(0.2)
print("SESSION", rayc.get_runtime_context().get_session_name(), flush=True)
print("READY", flush=True)
"""


def nothing_runs() -> bool:
    return wait_until(lambda: not session_processes(), GONE_WITHIN_S)


def started(start_driver: Callable[..., Any], end: str) -> Any:
    driver = start_driver(DRIVER + end)
    driver.session = driver.read_until("SESSION")
    driver.read_until("READY")
    return driver


def process_named(word: str) -> int:
    """Return the process whose command or title has a word in it."""
    (pid,) = [pid for pid, command in session_processes().items() if re.search(word, command)]
    return pid


@pytest.mark.parametrize(
    ("end", "status"),
    [
        ("", 0),
        ("rayc.shutdown()", 0),
        ("sys.exit(3)", 3),
        ("raise ValueError('unhandled')", 1),
        ("os.kill(os.getpid(), signal.SIGTERM); time.sleep(100)", 128 + signal.SIGTERM),
        ("os._exit(0)", 0),
        ("os.kill(os.getpid(), signal.SIGKILL)", -signal.SIGKILL),
        (
            # Without AddressSanitizer's handler, if it is there: it would make a report of it.
            "signal.signal(signal.SIGSEGV, signal.SIG_DFL); os.kill(os.getpid(), signal.SIGSEGV)",
            -signal.SIGSEGV,
        ),
    ],
    ids=["end", "shutdown", "exit", "exception", "sigterm", "_exit", "sigkill", "sigsegv"],
)
def test_how_a_driver_ends(start_driver: Callable[..., Any], end: str, status: int) -> None:
    driver = started(start_driver, end)
    code, _, err = driver.finish()
    assert code == status, err
    assert nothing_runs(), session_processes()
    assert wait_until(lambda: driver.session not in session_folders(), GONE_WITHIN_S)


@pytest.mark.parametrize("call", ["rayc.get(running)", "rayc.wait([running])", "time.sleep(100)"])
def test_ctrl_c(start_driver: Callable[..., Any], call: str) -> None:
    driver = started(start_driver, call)
    driver.process.send_signal(signal.SIGINT)
    code, _, err = driver.finish()
    assert code in (130, -signal.SIGINT), err
    assert "KeyboardInterrupt" in err
    assert nothing_runs(), session_processes()
    assert driver.session not in session_folders()


def test_ctrl_c_for_the_whole_process_group(start_driver: Callable[..., Any]) -> None:
    driver = started(
        start_driver,
        """
try:
    print("INSIDE", flush=True)
    time.sleep(100)
except KeyboardInterrupt:
    pass
print("ALIVE", rayc.get(actor.ping.remote()) > 0, flush=True)
""",
    )
    driver.read_until("INSIDE")
    for pid in [driver.process.pid, *session_processes()]:
        if os.getpgid(pid) == os.getpgid(driver.process.pid):
            os.kill(pid, signal.SIGINT)
    assert driver.read_until("ALIVE") == "True"
    assert driver.finish()[0] == 0


@pytest.mark.parametrize("process", [r"bin/raylet", r"rayc::zygote"])
def test_a_raylet_or_zygote_that_is_killed(start_driver: Callable[..., Any], process: str) -> None:
    driver = started(
        start_driver,
        """
try:
    rayc.get(running, timeout=60)
except rayc.exceptions.GetTimeoutError:
    print("ERROR timed out", flush=True)
except Exception as error:
    print("ERROR", type(error).__name__, flush=True)
""",
    )
    os.kill(process_named(process), signal.SIGKILL)
    assert wait_until(lambda: set(session_processes()) <= {driver.process.pid}, GONE_WITHIN_S), (
        session_processes()
    )
    assert driver.read_until("ERROR") != "timed out"
    code, _, err = driver.finish()
    assert code == 0, err
    assert driver.session not in session_folders()


def test_the_next_session_removes_what_a_dead_one_left() -> None:
    root = Path(ROOT, f"rayc-{os.getuid()}")
    root.mkdir(mode=0o700, exist_ok=True)
    child = subprocess.Popen([sys.executable, "-c", "pass"])
    child.wait()
    dead = root / f"session_2020-01-01_00-00-00_000000_{child.pid}"
    (dead / "logs").mkdir(parents=True)
    (dead / "driver.pid").write_text(f"{child.pid}\n12345\n")
    (dead / "lock").touch()
    rayc.init(num_cpus=1)
    assert dead.name not in session_folders()
    rayc.shutdown()


def test_a_living_session_is_left_alone(start_driver: Callable[..., Any]) -> None:
    driver = started(start_driver, "time.sleep(100)")
    rayc.init(num_cpus=1)
    assert driver.session in session_folders()
    mine = rayc.get_runtime_context().get_session_name()
    assert rayc.get(rayc.remote(lambda: 1).remote()) == 1
    rayc.shutdown()
    assert mine not in session_folders()
    assert driver.session in session_folders()
    driver.process.send_signal(signal.SIGTERM)
    driver.finish()


def test_the_folder_is_private(rayc_session: Any) -> None:
    directory = Path(rayc_session.address_info["session_dir"])
    assert directory.stat().st_mode & 0o777 == 0o700
    assert directory.parent.stat().st_mode & 0o777 == 0o700
    assert (directory.parent / "session_latest").resolve() == directory
    # A worker that prints nothing writes no file.
    rayc.get(rayc.remote(lambda: 1).remote())
    assert list((directory / "logs").iterdir()) == []


def test_no_shared_memory_stays(rayc_session: Any) -> None:
    before = set(os.listdir("/dev/shm"))
    ref = rayc.put(b"x" * 10_000_000)
    rayc.shutdown()
    del ref
    assert set(os.listdir("/dev/shm")) <= before


def test_an_idle_cluster_is_small(rayc_session: Any) -> None:
    rayc.get([rayc.remote(lambda i: i).remote(i) for i in range(20)])
    assert len(session_processes()) <= 5
