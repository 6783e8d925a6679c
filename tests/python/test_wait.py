"""wait."""

from __future__ import annotations

import os
import pickle
import time
from typing import Any

import pytest

import rayc

pytestmark = pytest.mark.usefixtures("rayc_session")


@rayc.remote
def until(path: str, value: Any = None) -> Any:
    """Return the value once a file exists."""
    while not os.path.exists(path):
        time.sleep(0.002)
    return value


@rayc.remote
def now(value: Any = None) -> Any:
    return value


@rayc.remote
def fail() -> None:
    raise KeyError("x")


def test_what_is_ready_comes_first_and_in_order(tmp_path: Any) -> None:
    gate = tmp_path / "gate"
    slow = until.remote(str(gate))
    fast = [now.remote(i) for i in range(3)]
    rayc.get(fast)
    refs = [fast[0], slow, fast[1], fast[2]]
    ready, rest = rayc.wait(refs, num_returns=3)
    assert ready == fast
    assert rest == [slow]
    gate.touch()
    ready, rest = rayc.wait(refs, num_returns=4)
    assert ready == refs
    assert rest == []


def test_no_more_than_num_returns() -> None:
    refs = [rayc.put(i) for i in range(5)]
    ready, rest = rayc.wait(refs, num_returns=2)
    assert len(ready) == 2
    assert ready + rest == refs


def test_timeout(tmp_path: Any) -> None:
    gate = tmp_path / "gate"
    slow = until.remote(str(gate))
    assert rayc.wait([slow], timeout=0) == ([], [slow])
    assert rayc.wait([slow], timeout=0.05) == ([], [slow])
    gate.touch()
    assert rayc.wait([slow], timeout=60) == ([slow], [])


def test_failed_tasks_count_as_ready() -> None:
    ref = fail.remote()
    assert rayc.wait([ref]) == ([ref], [])


def test_an_empty_list() -> None:
    assert rayc.wait([]) == ([], [])


def test_popping_one_by_one() -> None:
    rest = [now.remote(i) for i in range(200)]
    seen = []
    while rest:
        (ready,), rest = rayc.wait(rest)
        seen.append(rayc.get(ready))
    assert sorted(seen) == list(range(200))


def test_fetch_local_false() -> None:
    ref = now.remote(1)
    assert rayc.wait([ref], fetch_local=False) == ([ref], [])


def test_wait_in_a_task() -> None:
    @rayc.remote
    def parent() -> int:
        refs = [now.remote(i) for i in range(10)]
        ready, rest = rayc.wait(refs, num_returns=10)
        assert not rest
        return sum(rayc.get(ready))

    assert rayc.get(parent.remote()) == 45


def test_as_completed_and_map_unordered() -> None:
    from rayc.util import as_completed, map_unordered

    refs = [now.remote(i) for i in range(25)]
    assert sorted(as_completed(refs)) == list(range(25))
    assert set(as_completed(refs, yield_obj_refs=True)) == set(refs)
    assert sorted(map_unordered(now, range(150))) == list(range(150))


def test_the_same_object_twice_is_refused_whatever_was_waited_for_before() -> None:
    refs = [rayc.put(i) for i in range(100)]
    _, rest = rayc.wait(refs)
    other = pickle.loads(pickle.dumps(rest[5]))  # another reference to the same object
    with pytest.raises(ValueError, match="twice"):
        rayc.wait([*rest, rest[7]])
    with pytest.raises(ValueError, match="twice"):
        rayc.wait([*rest, other])
    with pytest.raises(ValueError, match="twice"):
        rayc.wait([other, *rest])
    assert rayc.wait([other, *rest[6:]]) == ([other], rest[6:])
    more = [rayc.put(i) for i in range(3)]
    assert rayc.wait([*more, *rest], num_returns=4) == ([*more, rest[0]], rest[1:])


def test_those_that_are_ready_at_the_end_of_a_long_list_are_found(tmp_path: Any) -> None:
    gate = tmp_path / "gate"
    slow = [until.remote(str(gate)) for _ in range(200)]
    quick = [rayc.put(i) for i in range(3)]
    ready, rest = rayc.wait([*slow, *quick], num_returns=2, timeout=60)
    assert (ready, rest) == (quick[:2], [*slow, quick[2]])
    assert rayc.wait(rest, num_returns=2, timeout=0.01) == ([quick[2]], slow)
    gate.touch()
    assert rayc.wait(slow, num_returns=200, timeout=60) == (slow, [])
