"""Concurrency groups: calls of an actor with places of their own."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

import pytest
from drivers import wait_until

import rayc
from rayc.exceptions import GetTimeoutError

pytestmark = pytest.mark.usefixtures("rayc_session")


@rayc.remote(concurrency_groups={"io": 2, "slow": 1})
class Threaded:
    def __init__(self) -> None:
        self.gate = threading.Event()
        self.running = 0
        self.lock = threading.Lock()

    @rayc.method(concurrency_group="io")
    def wait(self) -> str:
        with self.lock:
            self.running += 1
        return "open" if self.gate.wait(20) else "closed"

    def open(self) -> None:
        self.gate.set()

    def count(self) -> int:
        return self.running

    def in_main_thread(self) -> bool:
        return threading.current_thread() is threading.main_thread()


@rayc.remote(concurrency_groups={"io": 2})
class Asyncio:
    def __init__(self) -> None:
        self.gate = asyncio.Event()
        self.running = 0

    @rayc.method(concurrency_group="io")
    async def wait(self) -> str:
        self.running += 1
        await self.gate.wait()
        return "open"

    async def open(self) -> None:
        self.gate.set()

    async def count(self) -> int:
        return self.running


@pytest.mark.parametrize("cls", [Threaded, Asyncio])
def test_each_group_has_its_own_places(cls: Any) -> None:
    actor = cls.remote()
    waiting = [actor.wait.remote() for _ in range(5)]
    assert wait_until(lambda: rayc.get(actor.count.remote()) == 2, 5)
    with pytest.raises(GetTimeoutError):
        rayc.get(actor.open.options(concurrency_group="io").remote(), timeout=0.2)
    assert rayc.get(actor.count.remote()) == 2, "the group is full, and others are not hindered"
    rayc.get(actor.open.remote())
    assert rayc.get(waiting) == ["open"] * 5


def test_a_call_can_name_another_group() -> None:
    actor = Threaded.remote()
    waiting = [actor.wait.options(concurrency_group="slow").remote() for _ in range(2)]
    waiting += [actor.wait.remote() for _ in range(2)]
    assert wait_until(lambda: rayc.get(actor.count.remote()) == 3, 5)
    rayc.get(actor.open.remote())
    assert rayc.get(waiting) == ["open"] * 4
    assert not rayc.get(actor.in_main_thread.remote())


@pytest.mark.parametrize("cls", [Threaded, Asyncio])
def test_unknown_group_of_a_call_fails_that_call(cls: Any) -> None:
    actor = cls.remote()
    with pytest.raises(ValueError, match="'nowhere'"):
        rayc.get(actor.count.options(concurrency_group="nowhere").remote())
    assert rayc.get(actor.count.remote()) == 0


def test_unknown_group_of_a_call_on_an_actor_without_groups() -> None:
    @rayc.remote
    class Plain:
        def method(self) -> int:
            return 1

    actor = Plain.remote()
    with pytest.raises(ValueError, match="'io'"):
        rayc.get(actor.method.options(concurrency_group="io").remote())
    assert rayc.get(actor.method.remote()) == 1


def test_unknown_group_of_a_method() -> None:
    @rayc.remote(concurrency_groups={"io": 2})
    class Wrong:
        @rayc.method(concurrency_group="oi")
        def method(self) -> None: ...

    with pytest.raises(AssertionError, match=r"'oi'.*'io'"):
        Wrong.remote()


def test_groups_belong_to_the_decorator() -> None:
    with pytest.raises(ValueError, match="decorator"):
        Threaded.options(concurrency_groups={"io": 1})
