"""Asyncio actors: many calls at a time in one event loop, in a thread of its own."""

from __future__ import annotations

import asyncio
import os
import threading
import time
from typing import Any

import numpy as np
import pytest
from drivers import wait_until

import rayc
from rayc.exceptions import ActorDiedError, RayActorError

pytestmark = pytest.mark.usefixtures("rayc_session")


@rayc.remote
def double(x: int) -> int:
    return 2 * x


@rayc.remote
class Server:
    """Has methods of both kinds."""

    def __init__(self, start: int = 0) -> None:
        self.value = start
        self.running = 0
        self.most = 0
        self.gate = asyncio.Event()
        self.thread = threading.current_thread().name

    async def add(self, n: int = 1) -> int:
        self.value += n
        return self.value

    def read(self) -> int:
        return self.value

    async def wait(self) -> str:
        self.running += 1
        self.most = max(self.most, self.running)
        await self.gate.wait()
        self.running -= 1
        return "open"

    async def open(self) -> int:
        self.gate.set()
        return self.most

    async def most_running(self) -> int:
        return self.most

    def where(self) -> tuple[str, str, bool]:
        loop = asyncio.get_running_loop()
        return self.thread, threading.current_thread().name, loop.is_running()

    async def fail(self) -> None:
        await asyncio.sleep(0)
        raise KeyError("no such thing")

    def fail_at_once(self) -> None:
        raise KeyError("no such thing")

    async def leave(self) -> None:
        rayc.actor.exit_actor()

    def leave_at_once(self) -> None:
        rayc.actor.exit_actor()

    async def quit(self) -> None:
        raise SystemExit(3)

    async def get_later(self, refs: list[Any]) -> int:
        return sum(await asyncio.gather(*refs))

    async def submit(self, n: int) -> int:
        return sum([await double.remote(i) for i in range(n)])

    async def large(self, n: int) -> Any:
        return np.arange(n)

    async def sizes(self, array: Any) -> int:
        return array.nbytes

    async def ref(self) -> Any:
        return [rayc.put("inner"), double.remote(4)]

    @rayc.method(num_returns=2)
    async def pair(self) -> tuple[int, int]:
        return 1, 2

    async def unpicklable(self) -> Any:
        return threading.Lock()

    async def pid(self) -> int:
        return os.getpid()

    async def say(self, text: str) -> None:
        print(text)


def test_calls_and_state() -> None:
    server = Server.remote(10)
    assert rayc.get([server.add.remote() for _ in range(5)])[-1] == 15
    assert rayc.get(server.read.remote()) == 15
    assert rayc.get(server.add.remote(n=-15)) == 0


def test_calls_run_at_the_same_time_up_to_the_limit() -> None:
    server = Server.options(max_concurrency=3).remote()
    waiting = [server.wait.remote() for _ in range(6)]
    assert wait_until(lambda: rayc.wait(waiting, num_returns=1, timeout=0)[0] == [], 1)
    with pytest.raises(rayc.exceptions.GetTimeoutError):
        rayc.get(server.open.remote(), timeout=0.3)  # all places are taken


def test_a_thousand_calls_wait_by_default() -> None:
    server = Server.remote()
    waiting = [server.wait.remote() for _ in range(900)]
    assert wait_until(lambda: rayc.get(server.most_running.remote()) == 900, 10)
    assert rayc.get(server.open.remote()) == 900
    assert rayc.get(waiting) == ["open"] * 900


def test_everything_runs_in_the_loop() -> None:
    server = Server.remote()
    constructor, method, running = rayc.get(server.where.remote())
    assert constructor == method != "MainThread"
    assert running


def test_async_constructor_is_awaited() -> None:
    @rayc.remote
    class Slow:
        async def __init__(self, value: int) -> None:  # type: ignore[misc]
            await asyncio.sleep(0.05)
            self.value = await double.remote(value)

        async def read(self) -> int:
            return self.value

    slow = Slow.remote(21)
    assert rayc.get(slow.read.remote()) == 42


@pytest.mark.parametrize("kind", ["plain", "async"])
def test_constructor_that_raises(kind: str) -> None:
    class Bad:
        async def method(self) -> None: ...

    def plain(self: Any) -> None:
        raise ValueError("bad start")

    async def waiting(self: Any) -> None:
        await asyncio.sleep(0.01)
        raise ValueError("bad start")

    Bad.__init__ = plain if kind == "plain" else waiting  # type: ignore[method-assign,assignment]
    actor = rayc.remote(Bad).remote()
    with pytest.raises(ActorDiedError, match="bad start") as caught:
        rayc.get(actor.method.remote())
    assert caught.value.actor_init_failed


@pytest.mark.parametrize("method", ["fail", "fail_at_once"])
def test_exceptions_do_not_hurt_the_actor(method: str) -> None:
    server = Server.remote()
    with pytest.raises(KeyError, match="no such thing"):
        rayc.get(getattr(server, method).remote())
    assert rayc.get(server.add.remote()) == 1


def test_results_that_cannot_be_pickled() -> None:
    server = Server.remote()
    with pytest.raises(TypeError, match="lock"):
        rayc.get(server.unpicklable.remote())
    assert rayc.get(server.add.remote()) == 1


@pytest.mark.parametrize("method", ["leave", "leave_at_once", "__ray_terminate__"])
def test_leaving_lets_running_calls_finish(method: str) -> None:
    @rayc.remote
    class Leaver:
        async def slow(self) -> str:
            await asyncio.sleep(0.3)
            return "done"

        async def leave(self) -> None:
            rayc.actor.exit_actor()

        def leave_at_once(self) -> None:
            rayc.actor.exit_actor()

    actor = Leaver.remote()
    slow = actor.slow.remote()
    last = getattr(actor, method).remote()
    assert rayc.get(slow) == "done"
    with pytest.raises(ActorDiedError):
        rayc.get(last)
    with pytest.raises(ActorDiedError):
        rayc.get(actor.slow.remote())


def test_system_exit_ends_the_actor() -> None:
    server = Server.remote()
    with pytest.raises(ActorDiedError, match="3"):
        rayc.get(server.quit.remote())


def test_kill() -> None:
    server = Server.remote()
    waiting = server.wait.remote()
    rayc.get(server.add.remote())
    rayc.kill(server)
    with pytest.raises(RayActorError):
        rayc.get(waiting)


def test_awaiting_references() -> None:
    server = Server.remote()
    refs = [double.remote(i) for i in range(10)]
    assert rayc.get(server.get_later.remote(refs)) == 90
    assert rayc.get(server.submit.remote(5)) == 20


def test_large_values_and_references() -> None:
    server = Server.remote()
    array = rayc.get(server.large.remote(100_000))
    assert array.sum() == 99_999 * 50_000
    assert rayc.get(server.sizes.remote(array)) == array.nbytes
    assert rayc.get(server.sizes.remote(rayc.put(array))) == array.nbytes
    inner, task = rayc.get(server.ref.remote())
    assert rayc.get([inner, task]) == ["inner", 8]
    assert rayc.get(list(server.pair.remote())) == [1, 2]


def test_failed_arguments_fail_the_call() -> None:
    @rayc.remote
    def bad() -> None:
        raise ZeroDivisionError("in the argument")

    server = Server.remote()
    with pytest.raises(ZeroDivisionError, match="in the argument"):
        rayc.get(server.add.remote(bad.remote()))
    assert rayc.get(server.read.remote()) == 0


def test_context_of_each_call() -> None:
    @rayc.remote
    class Watcher:
        async def look(self) -> tuple[Any, ...]:
            before = rayc.get_runtime_context().get_task_id()
            child = who_asked.remote()
            await asyncio.sleep(0.05)
            context = rayc.get_runtime_context()
            name = context.get_task_name()
            in_thread = await asyncio.to_thread(rayc.get_runtime_context().get_task_id)
            return before, context.get_task_id(), in_thread, await child, name

        def look_now(self) -> str | None:
            return rayc.get_runtime_context().get_task_id()

        async def actor_id(self) -> Any:
            return rayc.get_runtime_context().get_actor_id()

    @rayc.remote
    def who_asked() -> str:
        spec = rayc._private.worker.global_worker.core_worker.get_current_task_spec()
        return spec.parent_task_id.hex()

    watcher = Watcher.remote()
    refs = [watcher.look.remote() for _ in range(4)]
    seen = rayc.get(refs)
    for ref, (before, after, in_thread, parent, name) in zip(refs, seen, strict=True):
        assert before == after == in_thread == parent == ref.task_id().hex()
        assert name == "Watcher.look"
    ref = watcher.look_now.remote()
    assert rayc.get(ref) == ref.task_id().hex()
    assert rayc.get(watcher.actor_id.remote()) == watcher._actor_id.hex()


def test_methods_that_every_actor_has() -> None:
    server = Server.remote(5)
    assert rayc.get(server.__ray_ready__.remote()) is True
    assert rayc.get(server.__ray_call__.remote(lambda self, n: self.value + n, 2)) == 7

    async def later(self: Any) -> int:
        await asyncio.sleep(0)
        return self.value

    assert rayc.get(server.__ray_call__.remote(later)) == 5


def test_blocking_get_warns_once(capfd: pytest.CaptureFixture[str]) -> None:
    @rayc.remote
    class Blocker:
        async def get(self) -> int:
            return rayc.get(double.remote(1)) + rayc.get(double.remote(2))

    blocker = Blocker.remote()
    assert rayc.get([blocker.get.remote(), blocker.get.remote()]) == [6, 6]
    assert wait_until(lambda: "blocks its event loop" in _errors(capfd), 5)
    assert _seen[capfd].count("blocks its event loop") == 1


_seen: dict[Any, str] = {}


def _errors(capfd: pytest.CaptureFixture[str]) -> str:
    captured = capfd.readouterr()
    _seen[capfd] = _seen.get(capfd, "") + captured.err + captured.out
    return _seen[capfd]


def test_prints_arrive_before_the_result(capsys: pytest.CaptureFixture[str]) -> None:
    server = Server.remote()
    rayc.get(server.say.remote("hello from the loop"))
    captured = capsys.readouterr()
    assert "hello from the loop" in captured.out + captured.err


def test_actors_of_both_kinds_call_each_other() -> None:
    @rayc.remote
    class Caller:
        def __init__(self, server: Any) -> None:
            self.server = server

        def call(self, n: int) -> int:
            return sum(rayc.get([self.server.add.remote(1) for _ in range(n)]))

    server = Server.remote()
    callers = [Caller.remote(server) for _ in range(2)]
    sums = rayc.get([caller.call.remote(50) for caller in callers])
    assert sum(sums) == sum(range(1, 101))


def test_an_actor_awaits_its_own_methods() -> None:
    @rayc.remote
    class Recursive:
        async def down(self, depth: int) -> int:
            if depth == 0:
                return 0
            me = rayc.get_runtime_context().current_actor
            return 1 + await me.down.remote(depth - 1)

    recursive = Recursive.remote()
    assert rayc.get(recursive.down.remote(20)) == 20


def test_many_calls_in_order_of_submission() -> None:
    server = Server.remote()
    assert rayc.get([server.add.remote() for _ in range(3_000)]) == list(range(1, 3_001))


def test_idle_actor_uses_no_processor() -> None:
    server = Server.remote()
    pid = rayc.get(server.pid.remote())

    def processor_time() -> int:
        with open(f"/proc/{pid}/stat") as stat:
            fields = stat.read().rpartition(")")[2].split()
        return int(fields[11]) + int(fields[12])

    time.sleep(0.2)
    before = processor_time()
    time.sleep(0.5)
    assert processor_time() - before <= 2  # hundredths of a second


def test_ordering_cannot_be_asked_for() -> None:
    with pytest.raises(ValueError, match="allow_out_of_order_execution"):
        Server.options(allow_out_of_order_execution=False).remote()


def test_plain_actor_runs_no_coroutine() -> None:
    @rayc.remote
    class Plain:
        def method(self) -> None: ...

    async def coroutine(self: Any) -> None: ...

    actor = Plain.remote()
    with pytest.raises(TypeError, match="coroutine"):
        rayc.get(actor.__ray_call__.remote(coroutine))
