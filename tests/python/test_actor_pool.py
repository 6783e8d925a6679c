"""ActorPool."""

from __future__ import annotations

import time
from typing import Any

import pytest

import rayc
from rayc.util import ActorPool

pytestmark = pytest.mark.usefixtures("rayc_session")


@rayc.remote
class Worker:
    def double(self, value: Any) -> Any:
        return 2 * value

    def sleep(self, seconds: float) -> float:
        time.sleep(seconds)
        return seconds

    def fail(self, value: Any) -> None:
        raise KeyError(value)

    def die(self, value: Any) -> None:
        import os

        os._exit(1)


def double(actor: Any, value: Any) -> Any:
    return actor.double.remote(value)


@pytest.fixture
def pool() -> ActorPool:
    return ActorPool([Worker.remote(), Worker.remote()])


def test_map(pool: ActorPool) -> None:
    assert list(pool.map(double, range(10))) == [2 * i for i in range(10)]
    assert list(pool.map(double, range(3))) == [0, 2, 4]
    assert list(pool.map(double, [])) == []


def test_map_unordered(pool: ActorPool) -> None:
    assert sorted(pool.map_unordered(double, range(10))) == [2 * i for i in range(10)]


def test_submit_and_get_next(pool: ActorPool) -> None:
    for i in range(5):
        pool.submit(double, i)
    assert [pool.get_next() for _ in range(5)] == [0, 2, 4, 6, 8]
    assert not pool.has_next()
    with pytest.raises(StopIteration):
        pool.get_next()
    with pytest.raises(StopIteration):
        pool.get_next_unordered()


def test_get_next_unordered(pool: ActorPool) -> None:
    for i in range(5):
        pool.submit(double, i)
    assert sorted(pool.get_next_unordered() for _ in range(5)) == [0, 2, 4, 6, 8]


def test_ordered_after_unordered(pool: ActorPool) -> None:
    for i in range(3):
        pool.submit(double, i)
    pool.get_next_unordered()
    with pytest.raises(ValueError):
        pool.get_next()
    while pool.has_next():
        pool.get_next_unordered()
    pool.submit(double, 4)
    assert pool.get_next() == 8


def test_timeouts(pool: ActorPool) -> None:
    pool.submit(lambda actor, value: actor.sleep.remote(value), 1.0)
    with pytest.raises(TimeoutError):
        pool.get_next(timeout=0.05)
    assert pool.get_next() == 1.0
    pool.submit(lambda actor, value: actor.sleep.remote(value), 1.0)
    with pytest.raises(TimeoutError):
        pool.get_next(timeout=0.05, ignore_if_timedout=True)
    assert not pool.has_next()


def test_idle_actors(pool: ActorPool) -> None:
    assert pool.has_free()
    one, two = pool.pop_idle(), pool.pop_idle()
    assert one is not None
    assert two is not None
    assert not pool.has_free()
    assert pool.pop_idle() is None
    pool.submit(double, 3)
    pool.push(one)
    assert pool.get_next() == 6
    with pytest.raises(ValueError):
        pool.push(one)


def test_an_error_leaves_the_pool_usable(pool: ActorPool) -> None:
    pool.submit(lambda actor, value: actor.fail.remote(value), 1)
    with pytest.raises(KeyError):
        pool.get_next()
    assert list(pool.map(double, range(4))) == [0, 2, 4, 6]


def test_a_dead_actor_is_dropped(pool: ActorPool) -> None:
    pool.submit(lambda actor, value: actor.die.remote(value), 1)
    with pytest.raises(rayc.exceptions.RayActorError):
        pool.get_next()
    assert list(pool.map(double, range(4))) == [0, 2, 4, 6]
