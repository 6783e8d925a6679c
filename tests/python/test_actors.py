"""Actors: state, order, handles, and how they end."""

from __future__ import annotations

import gc
import os
import time
from typing import Any

import pytest
from drivers import wait_until

import rayc
from rayc.exceptions import ActorDiedError, RayActorError

pytestmark = pytest.mark.usefixtures("rayc_session")


@rayc.remote
class Counter:
    """Counts."""

    def __init__(self, start: int = 0) -> None:
        self.value = start

    def add(self, n: int = 1) -> int:
        """Count on."""
        self.value += n
        return self.value

    def read(self) -> int:
        return self.value

    def pid(self) -> int:
        return os.getpid()

    @rayc.method(num_returns=2)
    def pair(self) -> tuple[int, int]:
        return self.value, -self.value

    @staticmethod
    def double(x: int) -> int:
        return 2 * x

    @classmethod
    def name(cls) -> str:
        return cls.__name__

    def fail(self) -> None:
        raise ValueError("no")

    def leave(self) -> None:
        rayc.actor.exit_actor()

    def die(self) -> None:
        os._exit(3)


def alive(pid: int) -> bool:
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def test_an_actor_keeps_its_state() -> None:
    counter = Counter.remote(10)
    assert rayc.get([counter.add.remote() for _ in range(3)]) == [11, 12, 13]
    assert rayc.get(counter.read.remote()) == 13


def test_constructor_arguments_by_name() -> None:
    counter = Counter.remote(start=rayc.put(5))
    assert rayc.get(counter.read.remote()) == 5


def test_calls_run_in_the_order_of_submission() -> None:
    @rayc.remote
    def late(value: int) -> int:
        time.sleep(0.2)
        return value

    @rayc.remote
    class Log:
        def __init__(self) -> None:
            self.seen: list[int] = []

        def note(self, value: int) -> None:
            self.seen.append(value)

        def read(self) -> list[int]:
            return self.seen

    log = Log.remote()
    log.note.remote(late.remote(0))
    for i in range(1, 20):
        log.note.remote(i)
    assert rayc.get(log.read.remote()) == list(range(20))


def test_two_actors_are_two_processes() -> None:
    a, b = Counter.remote(), Counter.remote()
    assert len({*rayc.get([a.pid.remote(), b.pid.remote()]), os.getpid()}) == 3


def test_more_actors_than_cpus() -> None:
    actors = [Counter.remote(i) for i in range(6)]
    assert rayc.get([actor.read.remote() for actor in actors]) == list(range(6))


def test_methods_of_all_kinds() -> None:
    counter = Counter.remote(3)
    assert rayc.get(counter.pair.remote()) == [3, -3]
    assert rayc.get(counter.double.remote(4)) == 8
    assert rayc.get(counter.name.remote()) == "Counter"
    assert rayc.get(counter.pair.options(num_returns=1).remote()) == (3, -3)
    assert counter.add.__doc__ == "Count on."


def test_inherited_methods() -> None:
    class Base:
        def hello(self) -> str:
            return f"hello from {type(self).__name__}"

        def overridden(self) -> int:
            return 1

    @rayc.remote
    class Child(Base):
        def overridden(self) -> int:
            return super().overridden() + 1

    child = Child.remote()
    assert rayc.get(child.hello.remote()) == "hello from Child"
    assert rayc.get(child.overridden.remote()) == 2


def test_handles_can_be_passed_on() -> None:
    @rayc.remote
    def add_through(handle: Any, n: int) -> int:
        result: int = rayc.get(handle.add.remote(n))
        return result

    @rayc.remote
    class Friend:
        def __init__(self, counter: Any) -> None:
            self.counter = counter

        def add(self) -> int:
            result: int = rayc.get(self.counter.add.remote())
            return result

    counter = Counter.remote()
    assert rayc.get(add_through.remote(counter, 5)) == 5
    friend = Friend.remote(counter)
    assert rayc.get(friend.add.remote()) == 6
    (again,) = rayc.get(rayc.put([counter]))
    assert again == counter
    assert hash(again) == hash(counter)
    assert rayc.get(again.add.remote()) == 7


def test_an_actor_can_create_actors() -> None:
    @rayc.remote
    class Parent:
        def __init__(self) -> None:
            self.child = Counter.remote(1)

        def ask(self) -> int:
            result: int = rayc.get(self.child.add.remote())
            return result

        def give(self) -> Any:
            return self.child

    parent = Parent.remote()
    assert rayc.get(parent.ask.remote()) == 2
    child = rayc.get(parent.give.remote())
    assert rayc.get(child.add.remote()) == 3


def test_an_actor_ends_with_its_last_handle() -> None:
    counter = Counter.remote()
    pid = rayc.get(counter.pid.remote())
    assert alive(pid)
    del counter
    gc.collect()
    assert wait_until(lambda: not alive(pid))


def test_queued_calls_finish_when_the_handle_goes() -> None:
    @rayc.remote
    class Slow:
        def work(self) -> int:
            time.sleep(0.1)
            return 1

    slow = Slow.remote()
    refs = [slow.work.remote() for _ in range(3)]
    del slow
    gc.collect()
    assert rayc.get(refs) == [1, 1, 1]


def test_a_handle_in_an_object_keeps_the_actor() -> None:
    counter = Counter.remote(4)
    ref = rayc.put([counter])
    rayc.get(counter.read.remote())
    del counter
    gc.collect()
    time.sleep(0.2)
    (again,) = rayc.get(ref)
    assert rayc.get(again.read.remote()) == 4


def test_a_method_keeps_the_actor_like_a_handle() -> None:
    assert rayc.get(Counter.remote(4).read.remote()) == 4
    assert rayc.get(Counter.remote(4).add.options(name="five").remote()) == 5
    counter = Counter.remote(6)
    pid = rayc.get(counter.pid.remote())
    method = counter.read
    del counter
    time.sleep(0.2)
    assert rayc.get(method.remote()) == 6
    del method
    assert wait_until(lambda: not alive(pid))


def test_exceptions_do_not_hurt_the_actor() -> None:
    counter = Counter.remote(1)
    with pytest.raises(ValueError, match="no"):
        rayc.get(counter.fail.remote())
    assert rayc.get(counter.add.remote()) == 2


def test_a_constructor_that_raises() -> None:
    @rayc.remote
    class Broken:
        def __init__(self) -> None:
            raise KeyError("the reason")

        def hello(self) -> None:
            pass

    broken = Broken.remote()
    for _ in range(2):
        with pytest.raises(ActorDiedError, match="the reason") as caught:
            rayc.get(broken.hello.remote())
        assert caught.value.actor_init_failed
        assert caught.value.actor_id == broken._actor_id.hex()


def test_an_actor_whose_process_dies() -> None:
    counter = Counter.remote()
    pid = rayc.get(counter.pid.remote())
    with pytest.raises(RayActorError):
        rayc.get(counter.die.remote())
    assert wait_until(lambda: not alive(pid))
    with pytest.raises(ActorDiedError) as caught:
        rayc.get(counter.read.remote())
    assert "3" in str(caught.value)
    assert not caught.value.actor_init_failed


def test_kill() -> None:
    counter = Counter.remote()
    pid = rayc.get(counter.pid.remote())
    rayc.kill(counter)
    assert wait_until(lambda: not alive(pid))
    with pytest.raises(RayActorError):
        rayc.get(counter.read.remote())


def test_kill_ends_what_runs() -> None:
    @rayc.remote
    class Sleeper:
        def ready(self) -> bool:
            return True

        def sleep(self) -> None:
            time.sleep(1000)

    sleeper = Sleeper.remote()
    rayc.get(sleeper.ready.remote())
    running, queued = sleeper.sleep.remote(), sleeper.ready.remote()
    rayc.kill(sleeper)
    for ref in (running, queued):
        with pytest.raises(RayActorError):
            rayc.get(ref)


def test_exit_actor(tmp_path: Any) -> None:
    mark = tmp_path / "atexit"

    @rayc.remote
    class Leaver:
        def __init__(self, path: str) -> None:
            import atexit

            atexit.register(lambda: open(path, "w").close())

        def ping(self) -> int:
            return 1

        def leave(self) -> None:
            rayc.actor.exit_actor()

    leaver = Leaver.remote(str(mark))
    assert rayc.get(leaver.ping.remote()) == 1
    with pytest.raises(ActorDiedError):
        rayc.get(leaver.leave.remote())
    with pytest.raises(ActorDiedError):
        rayc.get(leaver.ping.remote())
    assert wait_until(mark.exists)
    with pytest.raises(TypeError):
        rayc.actor.exit_actor()


def test_what_an_actor_does_at_its_end(tmp_path: Any) -> None:
    @rayc.remote
    class Tidy:
        def __init__(self, name: str) -> None:
            self.path = tmp_path / name

        def __ray_shutdown__(self) -> None:
            self.path.touch()

        def leave(self) -> None:
            rayc.actor.exit_actor()

        def ping(self) -> None:
            pass

    actors = {name: Tidy.remote(name) for name in ("scope", "terminate", "exit", "kill")}
    rayc.get([actor.ping.remote() for actor in actors.values()])
    rayc.kill(actors.pop("kill"))
    actors.pop("terminate").__ray_terminate__.remote()
    actors.pop("exit").leave.remote()
    del actors
    expected = ["exit", "scope", "terminate"]
    assert wait_until(lambda: sorted(path.name for path in tmp_path.iterdir()) == expected)


def test_methods_that_every_actor_has() -> None:
    counter = Counter.remote(3)
    assert rayc.get(counter.__ray_ready__.remote()) is True
    result = rayc.get(counter.__ray_call__.remote(lambda actor, n: actor.value + n, 4))
    assert result == 7


def test_ray_terminate() -> None:
    counter = Counter.remote()
    pid = rayc.get(counter.pid.remote())
    last = counter.add.remote()
    counter.__ray_terminate__.remote()
    assert rayc.get(last) == 1
    assert wait_until(lambda: not alive(pid))
    with pytest.raises(ActorDiedError):
        rayc.get(counter.add.remote())


def test_how_handles_look() -> None:
    counter = Counter.remote()
    assert repr(counter) == f"Actor(Counter, {counter._actor_id.hex()})"
    assert {"add", "read", "double"} <= set(dir(counter))
    assert not hasattr(counter, "value")


def test_a_handle_of_an_earlier_session() -> None:
    counter = Counter.remote()
    rayc.get(counter.read.remote())
    rayc.shutdown()
    with pytest.raises(ValueError, match="session"):
        counter.read.remote()
    rayc.init(num_cpus=1)
    with pytest.raises(ValueError, match="session"):
        counter.read.remote()
    with pytest.raises(rayc.exceptions.ActorHandleNotFoundError):
        rayc.kill(counter)
    fresh = Counter.remote(2)
    assert rayc.get(fresh.read.remote()) == 2


def test_current_actor() -> None:
    @rayc.remote
    class Self:
        def handle(self) -> Any:
            return rayc.get_runtime_context().current_actor

        def ids(self) -> tuple[str | None, str | None]:
            context = rayc.get_runtime_context()
            return context.get_actor_id(), context.get_task_id()

    actor = Self.remote()
    assert rayc.get(actor.handle.remote()) == actor
    actor_id, task_id = rayc.get(actor.ids.remote())
    assert actor_id == actor._actor_id.hex()
    assert task_id


def test_actor_that_holds_cpus() -> None:
    holder = Counter.options(num_cpus=2).remote()
    rayc.get(holder.read.remote())

    @rayc.remote
    def one() -> int:
        return 1

    ref = one.remote()
    assert rayc.wait([ref], timeout=0.3) == ([], [ref])
    rayc.kill(holder)
    assert rayc.get(ref) == 1


def test_restart() -> None:
    @rayc.remote(max_restarts=1, max_task_retries=-1)
    class Phoenix:
        def __init__(self) -> None:
            self.value = 0

        def add(self) -> int:
            self.value += 1
            return self.value

        def pid(self) -> int:
            return os.getpid()

    phoenix = Phoenix.remote()
    assert rayc.get([phoenix.add.remote() for _ in range(2)]) == [1, 2]
    pid = rayc.get(phoenix.pid.remote())
    os.kill(pid, 9)
    assert rayc.get(phoenix.pid.remote()) != pid
    assert rayc.get(phoenix.add.remote()) == 1
