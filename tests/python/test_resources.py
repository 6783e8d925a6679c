"""Resources: what tasks and actors hold, wait for, lend, and see of it in their environment."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from typing import Any

import pytest
from drivers import wait_until

import rayc
from rayc.exceptions import ActorUnschedulableError, TaskUnschedulableError


@rayc.remote
def interval(seconds: float = 0.3) -> tuple[float, float]:
    begin = time.monotonic()
    time.sleep(seconds)
    return begin, time.monotonic()


@rayc.remote
class Holder:
    def assigned(self) -> dict[str, float]:
        return rayc.get_runtime_context().get_assigned_resources()

    def variables(self) -> tuple[list[Any], str | None, str | None]:
        return (
            list(rayc.get_gpu_ids()),
            os.environ.get("CUDA_VISIBLE_DEVICES"),
            os.environ.get("OMP_NUM_THREADS"),
        )


@rayc.remote(max_calls=0)
def variables(seconds: float = 0) -> tuple[list[Any], str | None, str | None]:
    time.sleep(seconds)
    return (
        list(rayc.get_gpu_ids()),
        os.environ.get("CUDA_VISIBLE_DEVICES"),
        os.environ.get("OMP_NUM_THREADS"),
    )


def at_a_time(intervals: list[tuple[float, float]]) -> int:
    """Return how many of the intervals overlapped at most."""
    return max(sum(b <= begin < e for b, e in intervals) for begin, _ in intervals)


@pytest.mark.parametrize(
    ("options", "most"),
    [
        ({"num_cpus": 2}, 1),
        ({"num_cpus": 1}, 2),
        ({"num_cpus": 0.5}, 4),
        ({"num_cpus": 0, "resources": {"slot": 1}}, 3),
        ({"num_cpus": 0, "resources": {"slot": 2}}, 1),
        ({"num_cpus": 0, "resources": {"slot": 0.75}}, 4),
        ({"num_cpus": 0, "memory": 600}, 1),
    ],
)
def test_as_many_as_fit_run_at_a_time(options: dict[str, Any], most: int) -> None:
    rayc.init(num_cpus=2, resources={"slot": 3}, _memory=1000)
    task = interval.options(**options)
    # The first ones start the workers, one after the other.
    rayc.get([task.remote(0.1) for _ in range(4)], timeout=20)
    ran = rayc.get([task.remote() for _ in range(4)], timeout=20)
    assert at_a_time(ran) == most


def test_what_is_kept_for_the_next_task_is_available() -> None:
    rayc.init(num_cpus=2)
    rayc.get([interval.remote(0.1) for _ in range(2)], timeout=20)
    assert wait_until(lambda: rayc.available_resources().get("CPU") == 2, 0.5)
    rayc.get(interval.remote(0), timeout=20)


def test_amounts_are_exact() -> None:
    rayc.init(num_cpus=1)
    # Ten times 0.1 are 1, and not 0.9999999.
    actors = [Holder.options(num_cpus=0.1).remote() for _ in range(10)]
    assert rayc.get([one.assigned.remote() for one in actors], timeout=20) == [{"CPU": 0.1}] * 10
    assert wait_until(lambda: "CPU" not in rayc.available_resources(), 5)
    late = Holder.options(num_cpus=0.0001).remote()
    waiting = late.assigned.remote()
    assert rayc.wait([waiting], timeout=0.3) == ([], [waiting])


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"num_cpus": 3}, "CPU: 3 asked, 2 there"),
        ({"num_gpus": 1}, "GPU: 1 asked, 0 there"),
        ({"resources": {"slot": 1.5}}, "slot: 1.5 asked, 1 there"),
        ({"resources": {"nothing": 0.001}}, "nothing: 0.001 asked, 0 there"),
        ({"accelerator_type": "T4"}, "accelerator_type:T4"),
    ],
)
def test_the_infeasible_fails_at_once(options: dict[str, Any], words: str) -> None:
    rayc.init(num_cpus=2, resources={"slot": 1})
    begin = time.monotonic()
    with pytest.raises(TaskUnschedulableError) as task:
        rayc.get(interval.options(**options).remote(), timeout=10)
    with pytest.raises(ActorUnschedulableError) as actor:
        holder = Holder.options(**options).remote()
        rayc.get(holder.assigned.remote(), timeout=10)
    assert time.monotonic() - begin < 1
    for caught in (task, actor):
        assert words in str(caught.value)
        assert "CPU:2" in str(caught.value)  # what there is
    assert rayc.get(interval.remote(0), timeout=10)


def test_the_infeasible_waits_if_told_to(run_driver: Callable[..., str]) -> None:
    out = run_driver(
        "import rayc\n"
        "rayc.init(num_cpus=1)\n"
        "@rayc.remote\n"
        "def f(): pass\n"
        "refs = [f.options(num_cpus=2).remote()]\n"
        "print(len(rayc.wait(refs, timeout=0.5)[1]))\n"
        "rayc.get(f.remote(), timeout=10)\n",
        RAYC_INFEASIBLE="wait",
    )
    assert out.split() == ["1"]


# Actors --------------------------------------------------------------------------------


def test_default_actors_hold_nothing_but_need_a_cpu_to_start() -> None:
    rayc.init(num_cpus=1)
    actors = [Holder.remote() for _ in range(3)]
    assert rayc.get([one.assigned.remote() for one in actors], timeout=20) == [{}] * 3
    task = interval.remote(0.6)
    time.sleep(0.2)
    waiting = Holder.remote()
    late = waiting.assigned.remote()
    assert rayc.wait([late], timeout=0.2) == ([], [late])  # the CPU is taken
    needs_none = Holder.options(num_cpus=0).remote()
    assert rayc.get(needs_none.assigned.remote(), timeout=10) == {}
    rayc.get(task)
    assert rayc.get(late, timeout=10) == {}


@pytest.mark.parametrize(
    ("options", "held"),
    [
        ({"num_cpus": 1}, {"CPU": 1.0}),
        ({"num_cpus": 0}, {}),
        ({"resources": {"slot": 1}}, {"CPU": 1.0, "slot": 1.0}),
        ({"num_gpus": 1}, {"CPU": 1.0, "GPU": 1.0}),
        ({"num_gpus": 0.5, "num_cpus": 0}, {"GPU": 0.5}),
        ({"memory": 100}, {"memory": 100.0}),
    ],
)
def test_what_actors_hold(options: dict[str, Any], held: dict[str, float]) -> None:
    rayc.init(num_cpus=2, num_gpus=1, resources={"slot": 1})
    actor = Holder.options(**options).remote()
    assert rayc.get(actor.assigned.remote(), timeout=10) == held
    left = 2 - held.get("CPU", 0)
    assert wait_until(lambda: rayc.available_resources()["CPU"] == left, 5)
    rayc.kill(actor)
    assert wait_until(lambda: rayc.available_resources()["CPU"] == 2, 5)


# Lending -------------------------------------------------------------------------------


def test_cpus_are_lent_while_blocked() -> None:
    rayc.init(num_cpus=1, resources={"slot": 1})

    @rayc.remote
    def outer(depth: int) -> int:
        return depth + (rayc.get(outer.remote(depth - 1)) if depth else 0)

    assert rayc.get(outer.remote(3), timeout=20) == 6

    @rayc.remote(resources={"slot": 1})
    def hold() -> tuple[int, int]:
        same = interval.options(resources={"slot": 1}).remote(0)
        other = interval.remote(0)
        rayc.get(other)
        ready, waiting = rayc.wait([same], timeout=0.3)
        return len(ready), len(waiting)

    # The CPU is lent, the slot is not.
    assert rayc.get(hold.remote(), timeout=20) == (0, 1)


def test_actors_lend_nothing() -> None:
    rayc.init(num_cpus=1)

    @rayc.remote(num_cpus=1)
    class Blocked:
        def ask(self) -> int:
            ready, _ = rayc.wait([interval.remote(0)], timeout=0.4)
            return len(ready)

    actor = Blocked.remote()
    assert rayc.get(actor.ask.remote(), timeout=20) == 0


# The environment -----------------------------------------------------------------------


@pytest.fixture
def two_gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
        monkeypatch.delenv(name, raising=False)
    rayc.init(num_cpus=4, num_gpus=2)


@pytest.mark.usefixtures("two_gpus")
def test_whole_gpus_are_told_apart() -> None:
    one = variables.options(num_gpus=1)
    found = rayc.get([one.remote(0.5), one.remote(0.5)], timeout=20)
    assert sorted(ids for ids, _, _ in found) == [[0], [1]]
    assert all(shown == str(ids[0]) for ids, shown, _ in found)
    ids, shown, _ = rayc.get(variables.options(num_gpus=2).remote(), timeout=20)
    assert (sorted(ids), shown) == ([0, 1], "0,1")
    assert rayc.get(variables.remote(), timeout=20)[:2] == ([], None)


@pytest.mark.usefixtures("two_gpus")
def test_shares_of_one_gpu_have_one_id() -> None:
    actors = [Holder.options(num_gpus=0.5, num_cpus=0).remote() for _ in range(4)]
    found = rayc.get([one.variables.remote() for one in actors], timeout=20)
    assert sorted(shown for _, shown, _ in found) == ["0", "0", "1", "1"]
    assert all([str(one) for one in ids] == [shown] for ids, shown, _ in found)
    waiting = variables.options(num_gpus=0.1).remote()
    assert rayc.wait([waiting], timeout=0.3) == ([], [waiting])
    rayc.kill(actors[0])
    assert rayc.get(waiting, timeout=10)[1] == found[0][1]


@pytest.mark.usefixtures("two_gpus")
def test_shares_that_lie_on_two_gpus_make_no_whole_one() -> None:
    actors = [Holder.options(num_gpus=0.6, num_cpus=0).remote() for _ in range(2)]
    rayc.get([one.variables.remote() for one in actors], timeout=20)
    waiting = variables.options(num_gpus=0.5).remote()
    assert rayc.wait([waiting], timeout=0.3) == ([], [waiting])


@pytest.mark.usefixtures("two_gpus")
def test_thread_counts_follow_the_cpus() -> None:
    for cpus, threads in ((1, "1"), (3, "3"), (0.5, "1"), (2, "2")):
        task = variables.options(num_cpus=cpus)
        assert rayc.get(task.remote(), timeout=20)[2] == threads
    for options, threads in (({}, "1"), ({"num_cpus": 3}, "3"), ({"num_cpus": 0}, "1")):
        actor = Holder.options(**options).remote()
        assert rayc.get(actor.variables.remote(), timeout=20)[2] == threads
        rayc.kill(actor)


def test_what_the_user_sets_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "7")
    rayc.init(num_cpus=2)
    assert rayc.get(variables.options(num_cpus=2).remote(), timeout=20)[2] == "7"


def test_the_drivers_names_of_gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "4,6")
    rayc.init(num_cpus=2, num_gpus=2)
    task = variables.options(num_gpus=1)
    found = rayc.get([task.remote(0.5), task.remote(0.5)], timeout=20)
    assert sorted(shown or "" for _, shown, _ in found) == ["4", "6"]
    assert sorted(ids for ids, _, _ in found) == [["4"], ["6"]]
