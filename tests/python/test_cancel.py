"""cancel: tasks and calls of actors, before and while they run."""

from __future__ import annotations

import asyncio
import os
import time
from pathlib import Path
from typing import Any

import pytest
from drivers import wait_until

import rayc
from rayc.exceptions import GetTimeoutError, TaskCancelledError, WorkerCrashedError

pytestmark = pytest.mark.usefixtures("rayc_session")

FOREVER_S = 60


@rayc.remote
def sleep(mark: str, seconds: float = FOREVER_S) -> str:
    Path(mark).touch()
    time.sleep(seconds)
    return "slept"


@rayc.remote
def one() -> int:
    return 1


def started(mark: Path) -> bool:
    return wait_until(mark.exists, 10)


def assert_cancelled(ref: Any, within_s: float = 5) -> None:
    begin = time.monotonic()
    with pytest.raises(TaskCancelledError):
        rayc.get(ref, timeout=within_s)
    assert time.monotonic() - begin < within_s


def test_blocking_call_is_interrupted(tmp_path: Path) -> None:
    ref = sleep.remote(str(tmp_path / "mark"))
    assert started(tmp_path / "mark")
    rayc.cancel(ref)
    assert_cancelled(ref, 2)
    assert rayc.get(one.remote()) == 1


def test_computation_is_interrupted(tmp_path: Path) -> None:
    @rayc.remote
    def compute(mark: str) -> None:
        Path(mark).touch()
        while True:
            pass

    ref = compute.remote(str(tmp_path / "mark"))
    assert started(tmp_path / "mark")
    rayc.cancel(ref)
    assert_cancelled(ref, 2)


def test_get_inside_is_interrupted(tmp_path: Path) -> None:
    @rayc.remote(num_cpus=0)
    def outer(mark: str) -> Any:
        return rayc.get(sleep.remote(mark))

    ref = outer.remote(str(tmp_path / "mark"))
    assert started(tmp_path / "mark")
    rayc.cancel(ref)
    assert_cancelled(ref, 2)


def test_interruptions_hit_only_the_task_they_are_for() -> None:
    @rayc.remote
    def short() -> int:
        total = 0
        for i in range(2_000):
            total += i
        return total

    for _ in range(30):
        refs = [short.remote() for _ in range(10)]
        rayc.cancel(refs[3])
        rayc.cancel(refs[0])
        for i, ref in enumerate(refs):
            if i in (0, 3):
                try:
                    rayc.get(ref, timeout=20)
                except TaskCancelledError:
                    pass
            else:
                assert rayc.get(ref, timeout=20) == 1_999_000


def test_pending_tasks_never_run(tmp_path: Path) -> None:
    blockers = [sleep.remote(str(tmp_path / f"blocker{i}")) for i in range(2)]
    assert all(started(tmp_path / f"blocker{i}") for i in range(2))
    pending = [sleep.remote(str(tmp_path / f"mark{i}")) for i in range(3)]
    for ref in pending:
        rayc.cancel(ref)
    for ref in pending:
        assert_cancelled(ref, 1)
    for ref in blockers:
        rayc.cancel(ref)
    for ref in blockers:
        assert_cancelled(ref)
    assert rayc.get(one.remote()) == 1
    assert not list(tmp_path.glob("mark*"))


def test_task_that_waits_for_its_arguments(tmp_path: Path) -> None:
    @rayc.remote
    def use(value: Any) -> Any:
        return value

    slow = sleep.remote(str(tmp_path / "mark"), 0.5)
    dependent = use.remote(slow)
    further = use.remote(dependent)
    rayc.cancel(dependent)
    assert_cancelled(dependent, 1)
    with pytest.raises(TaskCancelledError):
        rayc.get(further)
    assert rayc.get(slow) == "slept"


def test_code_that_swallows_it_returns_normally(tmp_path: Path) -> None:
    @rayc.remote
    def stubborn(mark: str) -> str:
        Path(mark).touch()
        try:
            time.sleep(FOREVER_S)
        except KeyboardInterrupt:
            time.sleep(0.2)  # is not interrupted again
            return "all the same"
        return "slept"

    ref = stubborn.remote(str(tmp_path / "mark"))
    assert started(tmp_path / "mark")
    rayc.cancel(ref)
    assert rayc.get(ref, timeout=5) == "all the same"


def test_cancelled_tasks_are_not_retried(tmp_path: Path) -> None:
    @rayc.remote(max_retries=5, retry_exceptions=True)
    def count(folder: str) -> None:
        (Path(folder) / os.urandom(4).hex()).touch()
        time.sleep(FOREVER_S)

    ref = count.remote(str(tmp_path))
    assert wait_until(lambda: len(list(tmp_path.iterdir())) == 1, 10)
    rayc.cancel(ref)
    assert_cancelled(ref)
    time.sleep(0.2)
    assert len(list(tmp_path.iterdir())) == 1


def test_force_ends_the_process(tmp_path: Path) -> None:
    @rayc.remote(max_retries=3)
    def stubborn(mark: str) -> None:
        Path(mark).write_text(str(os.getpid()))
        while True:
            try:
                time.sleep(FOREVER_S)
            except KeyboardInterrupt:
                pass

    ref = stubborn.remote(str(tmp_path / "mark"))
    assert wait_until(lambda: (tmp_path / "mark").exists() and (tmp_path / "mark").read_text(), 10)
    pid = int((tmp_path / "mark").read_text())
    rayc.cancel(ref)
    with pytest.raises(GetTimeoutError):
        rayc.get(ref, timeout=0.3)
    rayc.cancel(ref, force=True)
    with pytest.raises(TaskCancelledError, match="cancelled with force") as caught:
        rayc.get(ref, timeout=5)
    assert isinstance(caught.value, WorkerCrashedError)
    assert wait_until(lambda: not Path(f"/proc/{pid}").exists(), 5)
    assert rayc.get(one.remote()) == 1


def _parent(folder: str) -> str:
    child = sleep.remote(f"{folder}/child")
    Path(folder, "ref").touch()
    try:
        return rayc.get(child)
    except KeyboardInterrupt:
        try:
            return f"child: {rayc.get(child, timeout=1)}"
        except TaskCancelledError:
            return "child was cancelled"
        except GetTimeoutError:
            return "child runs"


@pytest.mark.parametrize(("recursive", "outcome"), [(True, "cancelled"), (False, "runs")])
def test_children(tmp_path: Path, recursive: bool, outcome: str) -> None:
    ref = rayc.remote(_parent).remote(str(tmp_path))
    assert started(tmp_path / "child")
    rayc.cancel(ref, recursive=recursive)
    assert outcome in rayc.get(ref, timeout=5)


def test_finished_tasks_stay_as_they_are() -> None:
    ref = one.remote()
    assert rayc.get(ref) == 1
    rayc.cancel(ref)
    rayc.cancel(ref, force=True)
    assert rayc.get(ref) == 1
    put = rayc.put(2)
    rayc.cancel(put)
    assert rayc.get(put) == 2


def test_borrowers_can_cancel(tmp_path: Path) -> None:
    @rayc.remote(num_cpus=0)
    def canceller(refs: list[Any]) -> None:
        rayc.cancel(refs[0])

    ref = sleep.remote(str(tmp_path / "mark"))
    assert started(tmp_path / "mark")
    rayc.get(canceller.remote([ref]))
    assert_cancelled(ref)


def test_not_a_reference() -> None:
    with pytest.raises(TypeError, match="cancel"):
        rayc.cancel("no")  # type: ignore[arg-type]


@rayc.remote
class Sync:
    def __init__(self) -> None:
        self.was_cancelled: list[bool] = []

    def sleep(self, mark: str, seconds: float) -> None:
        Path(mark).touch()
        time.sleep(seconds)
        self.was_cancelled.append(rayc.get_runtime_context().is_canceled())

    def fail(self, mark: str) -> None:
        Path(mark).touch()
        time.sleep(0.3)
        raise KeyError("its own")

    def seen(self) -> list[bool]:
        return self.was_cancelled

    def ping(self) -> int:
        return 1


def test_running_call_of_an_actor_is_only_told(tmp_path: Path) -> None:
    actor = Sync.remote()
    running = actor.sleep.remote(str(tmp_path / "mark"), 0.5)
    pending = actor.sleep.remote(str(tmp_path / "pending"), 0.5)
    assert started(tmp_path / "mark")
    rayc.cancel(running)
    rayc.cancel(pending)
    assert_cancelled(pending, 0.4)
    assert_cancelled(running)  # what it returns, nobody wants any more
    rayc.get(actor.sleep.remote(str(tmp_path / "other"), 0))
    assert rayc.get(actor.seen.remote()) == [True, False]
    assert not (tmp_path / "pending").exists()


def test_running_call_of_an_actor_that_fails_by_itself(tmp_path: Path) -> None:
    actor = Sync.options(max_concurrency=2).remote()
    ref = actor.fail.remote(str(tmp_path / "mark"))
    assert started(tmp_path / "mark")
    rayc.cancel(ref)
    with pytest.raises(KeyError, match="its own"):
        rayc.get(ref)


def test_call_of_an_actor_that_is_not_there_yet(tmp_path: Path) -> None:
    @rayc.remote
    class Slow:
        def __init__(self) -> None:
            time.sleep(0.5)

        def method(self) -> int:
            return 1

    actor = Slow.remote()
    first, second = actor.method.remote(), actor.method.remote()
    rayc.cancel(first)
    assert_cancelled(first, 0.4)
    assert rayc.get(second) == 1


def test_force_is_not_for_calls_of_actors(tmp_path: Path) -> None:
    actor = Sync.remote()
    ref = actor.ping.remote()
    with pytest.raises(ValueError, match="force"):
        rayc.cancel(ref, force=True)
    assert rayc.get(ref) == 1


@rayc.remote
class Async:
    async def sleep(self, swallow: bool = False) -> str:
        try:
            await asyncio.sleep(FOREVER_S)
        except asyncio.CancelledError:
            if not swallow:
                raise
            return "all the same"
        return "slept"

    async def ping(self) -> int:
        return 1

    async def look(self) -> None:
        rayc.get_runtime_context().is_canceled()


def test_async_call() -> None:
    actor = Async.remote()
    refs = [actor.sleep.remote(), actor.sleep.remote(True), actor.sleep.remote()]
    assert rayc.get(actor.ping.remote()) == 1
    rayc.cancel(refs[0])
    rayc.cancel(refs[1])
    assert_cancelled(refs[0], 2)
    assert_cancelled(refs[1], 2)  # though its code has swallowed the CancelledError
    with pytest.raises(GetTimeoutError):
        rayc.get(refs[2], timeout=0.1)
    assert rayc.get(actor.ping.remote()) == 1


def test_pending_async_call() -> None:
    actor = Async.options(max_concurrency=1).remote()
    running, pending = actor.sleep.remote(), actor.ping.remote()
    rayc.cancel(pending)
    assert_cancelled(pending, 2)
    rayc.cancel(running)
    assert_cancelled(running, 2)
    assert rayc.get(actor.ping.remote()) == 1


def test_is_canceled_is_not_for_drivers_and_async_actors() -> None:
    actor = Async.remote()
    with pytest.raises(RuntimeError, match="driver"):
        rayc.get_runtime_context().is_canceled()
    with pytest.raises(RuntimeError, match="asyncio"):
        rayc.get(actor.look.remote())


def test_task_looks_whether_it_is_cancelled() -> None:
    @rayc.remote
    def look() -> bool:
        return rayc.get_runtime_context().is_canceled()

    assert rayc.get(look.remote()) is False
