"""Tasks that start tasks, and block on them."""

from __future__ import annotations

from typing import Any

import pytest

import rayc

pytestmark = pytest.mark.usefixtures("rayc_session")


@rayc.remote
def leaf(value: int) -> int:
    return value + 1


@rayc.remote
def tree(depth: int) -> int:
    if depth == 0:
        return 1
    result: int = sum(rayc.get([tree.remote(depth - 1) for _ in range(2)]))
    return result


def test_a_task_blocks_on_its_children() -> None:
    @rayc.remote
    def parent() -> int:
        result: int = sum(rayc.get([leaf.remote(i) for i in range(20)]))
        return result

    assert rayc.get([parent.remote() for _ in range(4)]) == [210] * 4


def test_deeper_than_there_are_cpus() -> None:
    rayc.shutdown()
    rayc.init(num_cpus=1)

    @rayc.remote
    def deep(n: int) -> int:
        if n == 0:
            return 0
        result: int = 1 + rayc.get(deep.remote(n - 1))
        return result

    assert rayc.get(deep.remote(10)) == 10


def test_a_tree_of_tasks() -> None:
    assert rayc.get(tree.remote(4)) == 16


def test_an_actor_waits_for_tasks() -> None:
    @rayc.remote(num_cpus=1)
    class Boss:
        def work(self, n: int) -> list[int]:
            result: list[int] = rayc.get([leaf.remote(i) for i in range(n)])
            return result

    boss = Boss.remote()
    assert rayc.get(boss.work.remote(10)) == list(range(1, 11))


def test_a_task_waits_for_an_actor_that_waits_for_a_task() -> None:
    @rayc.remote
    class Middle:
        def ask(self, n: int) -> int:
            result: int = rayc.get(leaf.remote(n))
            return result

    @rayc.remote
    def ask(handle: Any, n: int) -> int:
        result: int = rayc.get(handle.ask.remote(n))
        return result

    middle = Middle.remote()
    assert rayc.get([ask.remote(middle, i) for i in range(6)]) == list(range(1, 7))


def test_a_task_hands_a_reference_to_its_child() -> None:
    @rayc.remote
    def parent() -> int:
        result: int = rayc.get(leaf.remote(leaf.remote(1)))
        return result

    assert rayc.get(parent.remote()) == 3


def test_a_result_of_a_child_outlives_its_parent() -> None:
    @rayc.remote
    def parent() -> list[Any]:
        return [leaf.remote(5)]

    (ref,) = rayc.get(parent.remote())
    assert rayc.get(ref) == 6


def test_work_behind_a_blocked_task_goes_on(tmp_path: Any) -> None:
    # `first` holds the only CPU and waits for what was submitted after `second`.
    rayc.shutdown()
    rayc.init(num_cpus=1)
    gate = str(tmp_path / "gate")

    @rayc.remote
    def open_gate(path: str) -> None:
        open(path, "w").close()

    @rayc.remote
    def first(path: str) -> bool:
        import os

        rayc.get(open_gate.remote(path))
        return os.path.exists(path)

    refs = [first.remote(gate), leaf.remote(1), leaf.remote(2)]
    assert rayc.get(refs) == [True, 2, 3]


def test_init_in_a_task_says_that_it_runs_already() -> None:
    @rayc.remote
    def again() -> str:
        try:
            rayc.init()
        except RuntimeError as error:
            return str(error)
        return "no error"

    assert "twice" in rayc.get(again.remote())
    assert rayc.get(rayc.remote(lambda: rayc.is_initialized()).remote())
