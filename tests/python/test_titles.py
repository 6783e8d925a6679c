"""What ps shows."""

from __future__ import annotations

import os
from typing import Any

import pytest
from drivers import session_processes, wait_until

import rayc

pytestmark = pytest.mark.usefixtures("rayc_session")


def title_of(pid: int) -> str:
    try:
        with open(f"/proc/{pid}/cmdline", "rb") as file:
            return file.read().split(b"\0")[0].decode(errors="replace").strip()
    except OSError:
        return ""


def has_title(title: str) -> bool:
    return wait_until(lambda: title in {title_of(pid) for pid in session_processes()})


@rayc.remote
def hold(gate: str) -> int:
    import time

    while not os.path.exists(gate):
        time.sleep(0.005)
    return os.getpid()


@rayc.remote
class Holder:
    def pid(self) -> int:
        return os.getpid()

    def hold(self, gate: str) -> int:
        import time

        while not os.path.exists(gate):
            time.sleep(0.005)
        return os.getpid()


def test_an_idle_worker() -> None:
    rayc.get(rayc.remote(lambda: 1).remote())
    assert has_title("rayc::IDLE")


def test_a_worker_that_runs_a_task(tmp_path: Any) -> None:
    gate = tmp_path / "gate"
    ref = hold.remote(str(gate))
    assert has_title("rayc::hold")
    gate.touch()
    pid = rayc.get(ref)
    assert wait_until(lambda: title_of(pid) in ("rayc::IDLE", ""))


def test_an_actor(tmp_path: Any) -> None:
    gate = tmp_path / "gate"
    holder = Holder.remote()
    pid = rayc.get(holder.pid.remote())
    assert wait_until(lambda: title_of(pid) == "rayc::Holder")
    ref = holder.hold.remote(str(gate))
    assert wait_until(lambda: title_of(pid) == "rayc::Holder.hold")
    gate.touch()
    assert rayc.get(ref) == pid
    assert wait_until(lambda: title_of(pid) == "rayc::Holder")


def test_the_zygote() -> None:
    assert has_title("rayc::zygote")
