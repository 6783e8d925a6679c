"""Restarts of actors, retries of their calls, and limits of pending ones."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path
from typing import Any

import pytest
from drivers import wait_until

import rayc
from rayc.exceptions import (
    ActorDiedError,
    ActorUnavailableError,
    PendingCallsLimitExceeded,
    RayActorError,
)

pytestmark = pytest.mark.usefixtures("rayc_session")


class Phoenix:
    def __init__(self, start: int = 0) -> None:
        self.value = start

    def add(self) -> int:
        self.value += 1
        return self.value

    def pid(self) -> int:
        return os.getpid()

    def was_restarted(self) -> bool:
        return rayc.get_runtime_context().was_current_actor_reconstructed

    def slow(self, mark: str) -> int:
        Path(mark).touch()
        time.sleep(0.6)
        return os.getpid()

    def leave(self) -> None:
        rayc.actor.exit_actor()


def kill_process(pid: int) -> None:
    os.kill(pid, signal.SIGKILL)
    assert wait_until(lambda: not Path(f"/proc/{pid}").exists(), 5)


def eventually(call: Any) -> Any:
    """Call until the actor is there again."""
    deadline = time.monotonic() + 20
    while True:
        try:
            return rayc.get(call(), timeout=20)
        except ActorUnavailableError:
            assert time.monotonic() < deadline
            time.sleep(0.02)


def test_restart_loses_the_state_and_keeps_the_arguments() -> None:
    actor = rayc.remote(Phoenix).options(max_restarts=1).remote(10)
    assert rayc.get([actor.add.remote(), actor.add.remote()]) == [11, 12]
    assert rayc.get(actor.was_restarted.remote()) is False
    first = rayc.get(actor.pid.remote())
    kill_process(first)
    assert eventually(actor.add.remote) == 11
    assert eventually(actor.was_restarted.remote) is True
    second = rayc.get(actor.pid.remote())
    assert second != first
    kill_process(second)
    with pytest.raises(ActorDiedError, match=r"SIGKILL|signal"):
        rayc.get(actor.add.remote(), timeout=20)


def test_call_under_way_fails_as_unavailable(tmp_path: Path) -> None:
    actor = rayc.remote(Phoenix).options(max_restarts=-1).remote()
    pid = rayc.get(actor.pid.remote())
    ref = actor.slow.remote(str(tmp_path / "mark"))
    assert wait_until((tmp_path / "mark").exists, 10)
    kill_process(pid)
    with pytest.raises(ActorUnavailableError, match="max_task_retries"):
        rayc.get(ref, timeout=20)
    assert eventually(actor.add.remote) == 1


def test_call_under_way_is_sent_again(tmp_path: Path) -> None:
    actor = rayc.remote(Phoenix).options(max_restarts=1, max_task_retries=1).remote()
    pid = rayc.get(actor.pid.remote())
    ref = actor.slow.remote(str(tmp_path / "mark"))
    assert wait_until((tmp_path / "mark").exists, 10)
    kill_process(pid)
    assert rayc.get(ref, timeout=20) != pid


def test_no_restart_without_the_option() -> None:
    actor = rayc.remote(Phoenix).remote()
    kill_process(rayc.get(actor.pid.remote()))
    with pytest.raises(ActorDiedError):
        rayc.get(actor.add.remote(), timeout=20)


def test_no_restart_after_exit_actor() -> None:
    actor = rayc.remote(Phoenix).options(max_restarts=-1).remote()
    with pytest.raises(ActorDiedError):
        rayc.get(actor.leave.remote())
    with pytest.raises(ActorDiedError):
        rayc.get(actor.add.remote(), timeout=20)


def test_kill_with_and_without_restart() -> None:
    actor = rayc.remote(Phoenix).options(max_restarts=1).remote()
    pid = rayc.get(actor.pid.remote())
    rayc.kill(actor, no_restart=False)
    assert wait_until(lambda: not Path(f"/proc/{pid}").exists(), 5)
    assert eventually(actor.pid.remote) != pid
    rayc.kill(actor)
    with pytest.raises(RayActorError):
        rayc.get(actor.add.remote(), timeout=20)


def test_restart_of_an_asyncio_actor() -> None:
    @rayc.remote(max_restarts=1)
    class Async:
        def __init__(self) -> None:
            self.value = 0

        async def add(self) -> int:
            self.value += 1
            return self.value

        async def pid(self) -> int:
            return os.getpid()

    actor = Async.remote()
    assert rayc.get(actor.add.remote()) == 1
    kill_process(rayc.get(actor.pid.remote()))
    assert eventually(actor.add.remote) == 1


class Transient(ConnectionError):
    pass


class Flaky:
    def __init__(self) -> None:
        self.calls = 0

    def call(self, good_at: int, error: type[Exception]) -> int:
        self.calls += 1
        if self.calls < good_at:
            raise error("not yet")
        return self.calls

    def count(self) -> int:
        return self.calls


def test_exceptions_of_methods_are_retried_if_asked_for() -> None:
    actor = rayc.remote(Flaky).options(max_task_retries=2).remote()
    with pytest.raises(Transient):
        rayc.get(actor.call.remote(3, Transient))
    assert rayc.get(actor.count.remote()) == 1
    assert rayc.get(actor.call.options(retry_exceptions=True).remote(3, Transient)) == 3

    actor = rayc.remote(Flaky).options(max_task_retries=2).remote()
    with pytest.raises(Transient):
        rayc.get(actor.call.options(retry_exceptions=True).remote(9, Transient))
    assert rayc.get(actor.count.remote()) == 3


def test_only_the_listed_exceptions_of_methods_are_retried() -> None:
    actor = rayc.remote(Flaky).options(max_task_retries=5).remote()
    call = actor.call.options(retry_exceptions=[ConnectionError])
    assert rayc.get(call.remote(2, Transient)) == 2
    with pytest.raises(KeyError):
        rayc.get(call.remote(9, KeyError))
    assert rayc.get(actor.count.remote()) == 3


def _flaky_task(folder: str, good_at: int, error: type[Exception]) -> int:
    (Path(folder) / os.urandom(6).hex()).touch()
    runs = len(list(Path(folder).iterdir()))
    if runs < good_at:
        raise error("not yet")
    return runs


def test_only_the_listed_exceptions_of_tasks_are_retried(tmp_path: Path) -> None:
    task = rayc.remote(max_retries=3, retry_exceptions=[Transient, KeyError])(_flaky_task)
    for name in ("a", "b", "c"):
        (tmp_path / name).mkdir()
    assert rayc.get(task.remote(str(tmp_path / "a"), 3, Transient)) == 3
    with pytest.raises(ConnectionError):
        rayc.get(task.remote(str(tmp_path / "b"), 3, ConnectionError))
    assert len(list((tmp_path / "b").iterdir())) == 1
    with pytest.raises(KeyError):
        rayc.get(task.remote(str(tmp_path / "c"), 99, KeyError))
    assert len(list((tmp_path / "c").iterdir())) == 4
    none = task.options(retry_exceptions=[])
    (tmp_path / "d").mkdir()
    with pytest.raises(Transient):
        rayc.get(none.remote(str(tmp_path / "d"), 2, Transient))


def test_limit_of_pending_calls(tmp_path: Path) -> None:
    actor = rayc.remote(Phoenix).options(max_pending_calls=2).remote()
    refs = [actor.slow.remote(str(tmp_path / "a")), actor.slow.remote(str(tmp_path / "b"))]
    with pytest.raises(PendingCallsLimitExceeded, match="2"):
        actor.add.remote()
    rayc.get(refs)
    assert rayc.get(actor.add.remote()) == 1


def test_limit_of_pending_calls_counts_each_process(tmp_path: Path) -> None:
    @rayc.remote
    def call(actor: Any) -> str:
        try:
            actor.add.remote()
            actor.add.remote()
        except PendingCallsLimitExceeded:
            return "refused"
        return "taken"

    actor = rayc.remote(Phoenix).options(max_pending_calls=1).remote()
    ref = actor.slow.remote(str(tmp_path / "a"))
    assert rayc.get(call.remote(actor)) == "refused", "the second one"
    rayc.get(ref)


def test_limit_of_zero_calls() -> None:
    actor = rayc.remote(Phoenix).options(max_pending_calls=0).remote()
    with pytest.raises(PendingCallsLimitExceeded):
        actor.add.remote()
