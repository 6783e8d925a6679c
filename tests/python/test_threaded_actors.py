"""Actors with max_concurrency > 1: methods run in a pool of threads."""

from __future__ import annotations

import threading
import time
from typing import Any

import pytest

import rayc
from rayc.exceptions import ActorDiedError, GetTimeoutError, RayActorError

pytestmark = pytest.mark.usefixtures("rayc_session")


@rayc.remote
def double(x: int) -> int:
    return 2 * x


@rayc.remote(max_concurrency=4)
class Pool:
    def __init__(self) -> None:
        self.barrier = threading.Barrier(4)
        self.gate = threading.Event()
        self.constructed_in = threading.current_thread() is threading.main_thread()
        self.local = threading.local()
        self.lock = threading.Lock()
        self.count = 0

    def meet(self) -> int:
        return self.barrier.wait(20)

    def wait(self) -> str:
        return "open" if self.gate.wait(20) else "closed"

    def open(self) -> None:
        self.gate.set()

    def threads(self) -> tuple[bool, bool]:
        return self.constructed_in, threading.current_thread() is threading.main_thread()

    def look(self) -> tuple[Any, Any]:
        before = rayc.get_runtime_context().get_task_id()
        time.sleep(0.05)
        return before, rayc.get_runtime_context().get_task_id()

    def fail(self) -> None:
        raise KeyError("no")

    def leave(self) -> None:
        rayc.actor.exit_actor()

    def slow(self, seconds: float) -> str:
        time.sleep(seconds)
        return "done"

    def nested(self, x: int) -> int:
        return rayc.get(double.remote(x))

    def calls_in_this_thread(self) -> int:
        self.local.calls = getattr(self.local, "calls", 0) + 1
        return self.local.calls

    def add(self) -> int:
        with self.lock:
            self.count += 1
            return self.count


def test_calls_run_at_the_same_time() -> None:
    pool = Pool.remote()
    assert sorted(rayc.get([pool.meet.remote() for _ in range(4)])) == [0, 1, 2, 3]


def test_no_more_than_the_limit() -> None:
    pool = Pool.remote()
    waiting = [pool.wait.remote() for _ in range(4)]
    opening = pool.open.remote()
    with pytest.raises(GetTimeoutError):
        rayc.get(opening, timeout=0.3)
    rayc.kill(pool)
    with pytest.raises(RayActorError):
        rayc.get(waiting)
    with pytest.raises(RayActorError):
        rayc.get(opening)


def test_constructor_runs_in_the_main_thread_and_methods_do_not() -> None:
    pool = Pool.remote()
    assert rayc.get(pool.threads.remote()) == (True, False)


def test_threads_last() -> None:
    pool = Pool.remote()
    calls = [rayc.get(pool.calls_in_this_thread.remote()) for _ in range(40)]
    assert max(calls) >= 10


def test_context_of_each_thread() -> None:
    pool = Pool.remote()
    refs = [pool.look.remote() for _ in range(8)]
    for ref, seen in zip(refs, rayc.get(refs), strict=True):
        assert seen == (ref.task_id().hex(),) * 2


def test_exceptions() -> None:
    pool = Pool.remote()
    refs = [pool.fail.remote() for _ in range(8)]
    for ref in refs:
        with pytest.raises(KeyError, match="no"):
            rayc.get(ref)
    assert rayc.get(pool.add.remote()) == 1


def test_get_inside() -> None:
    pool = Pool.remote()
    assert rayc.get([pool.nested.remote(i) for i in range(12)]) == [2 * i for i in range(12)]


def test_exit_lets_running_calls_finish_and_queued_ones_fail() -> None:
    pool = Pool.remote()
    slow = [pool.slow.remote(0.5) for _ in range(3)]
    last = pool.leave.remote()
    queued = [pool.slow.remote(0.1) for _ in range(4)]
    assert rayc.get(slow) == ["done"] * 3
    for ref in [last, queued[-1]]:
        with pytest.raises(ActorDiedError):
            rayc.get(ref)


def test_many_calls() -> None:
    pool = Pool.remote()
    assert sorted(rayc.get([pool.add.remote() for _ in range(2_000)])) == list(range(1, 2_001))


def test_end_of_scope_finishes_what_is_queued() -> None:
    pool = Pool.remote()
    refs = [pool.slow.remote(0.05) for _ in range(8)]
    del pool
    assert rayc.get(refs) == ["done"] * 8
