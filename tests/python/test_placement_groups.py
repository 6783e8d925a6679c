"""Placement groups on one node: creation, use, removal, life time, and what bad use gets."""

from __future__ import annotations

import pickle
import time
from collections.abc import Callable
from typing import Any

import pytest
from drivers import wait_until

import rayc
from rayc.exceptions import (
    ActorPlacementGroupRemoved,
    GetTimeoutError,
    TaskPlacementGroupRemoved,
    TaskUnschedulableError,
)
from rayc.util import placement_group as made_by_util
from rayc.util.placement_group import (
    PlacementGroup,
    get_current_placement_group,
    get_placement_group,
    placement_group,
    placement_group_table,
    remove_placement_group,
)
from rayc.util.scheduling_strategies import PlacementGroupSchedulingStrategy as InGroup

STRATEGIES = ("PACK", "SPREAD", "STRICT_PACK", "STRICT_SPREAD")


def state_of(group: PlacementGroup) -> str:
    return str(placement_group_table(group)["state"])


@rayc.remote
def nothing() -> str:
    return "done"


@rayc.remote
def sleep_for(seconds: float) -> str:
    time.sleep(seconds)
    return "slept"


@rayc.remote
class Counter:
    def __init__(self) -> None:
        self.count = 0

    def add(self) -> int:
        self.count += 1
        return self.count

    def sleep_for(self, seconds: float) -> str:
        time.sleep(seconds)
        return "slept"


# Creation ------------------------------------------------------------------------------


@pytest.mark.parametrize("strategy", [*STRATEGIES, None])
def test_a_group_is_created(rayc_session: Any, strategy: str | None) -> None:
    group = placement_group([{"CPU": 1}], strategy)
    assert group.wait(10)
    assert rayc.get(group.ready(), timeout=10) == group
    row = placement_group_table(group)
    assert row["state"] == "CREATED"
    assert row["strategy"] == (strategy or "PACK")
    assert row["placement_group_id"] == group.id.hex()
    assert row["bundles"] == {0: {"CPU": 1.0}}
    assert row["bundles_to_node_id"] == {0: rayc.get_runtime_context().get_node_id()}
    assert placement_group_table()[group.id.hex()] == row


def test_the_handle(rayc_session: Any) -> None:
    group = made_by_util([{"CPU": 1}, {"CPU": 0.5, "memory": 1000}])
    assert group.bundle_specs == [{"CPU": 1.0}, {"CPU": 0.5, "memory": 1000.0}]
    assert group.bundle_count == 2
    assert not group.is_empty
    assert PlacementGroup.empty().is_empty
    copy = pickle.loads(pickle.dumps(group))
    assert copy == group
    assert hash(copy) == hash(group)
    assert copy.bundle_specs == group.bundle_specs
    assert group != placement_group([{"CPU": 0.1}])

    @rayc.remote(num_cpus=0)
    def look(sent: PlacementGroup) -> tuple[bool, int]:
        return sent.wait(10), sent.bundle_count

    assert rayc.get(look.remote(group)) == (True, 2)


def test_reserved_resources_show(rayc_session: Any) -> None:
    group = placement_group([{"CPU": 1}, {"CPU": 0.5}])
    assert group.wait(10)
    end = group.id.hex()

    def shown() -> bool:
        free = rayc.available_resources()
        return (
            free["CPU"] == 0.5
            and free.get(f"CPU_group_{end}") == 1.5
            and free.get(f"CPU_group_0_{end}") == 1
            and free.get(f"CPU_group_1_{end}") == 0.5
            and free.get(f"bundle_group_{end}") == 2000
        )

    assert wait_until(shown, 5), rayc.available_resources()
    total = rayc.cluster_resources()
    assert total["CPU"] == 2
    assert total[f"CPU_group_{end}"] == 1.5
    remove_placement_group(group)
    assert wait_until(lambda: rayc.available_resources().get("CPU") == 2, 5)
    assert wait_until(lambda: not any("_group_" in one for one in rayc.cluster_resources()), 5)


def test_all_or_nothing(rayc_session: Any) -> None:
    first = placement_group([{"CPU": 1}])
    assert first.wait(10)
    second = placement_group([{"CPU": 1}, {"CPU": 1}])
    assert not second.wait(0.2)
    assert state_of(second) == "PENDING"
    with pytest.raises(GetTimeoutError):
        rayc.get(second.ready(), timeout=0.05)
    # The CPU that is left is nobody's: the pending group holds none of it.
    assert rayc.get(nothing.remote(), timeout=10) == "done"
    remove_placement_group(first)
    assert second.wait(10)
    assert state_of(first) == "REMOVED"


def test_a_group_waits_for_running_tasks(rayc_session: Any) -> None:
    running = [sleep_for.remote(0.5) for _ in range(2)]
    time.sleep(0.1)
    group = placement_group([{"CPU": 2}])
    assert not group.wait(0)
    assert group.wait(10)
    assert rayc.get(running) == ["slept", "slept"]


def test_an_idle_lease_is_called_back(rayc_session: Any) -> None:
    rayc.get([nothing.remote() for _ in range(10)])
    begin = time.monotonic()
    assert placement_group([{"CPU": 2}]).wait(10)
    assert time.monotonic() - begin < 0.5


@pytest.mark.parametrize(
    ("bundles", "strategy", "words"),
    [
        ([{"CPU": 1}, {"CPU": 1}], "STRICT_SPREAD", "STRICT_SPREAD"),
        ([{"CPU": 3}], "PACK", "CPU: 3 asked, 2 there"),
        ([{"CPU": 2}, {"CPU": 1}], "SPREAD", "CPU: 3 asked, 2 there"),
        ([{"unknown": 1}], "PACK", "unknown"),
        ([{"GPU": 1.5}], "PACK", "GPU"),
    ],
)
def test_what_one_node_cannot_hold_fails_at_once(
    rayc_session: Any, bundles: list[dict[str, float]], strategy: str, words: str
) -> None:
    begin = time.monotonic()
    group = placement_group(bundles, strategy)
    with pytest.raises(TaskUnschedulableError) as caught:
        rayc.get(group.ready(), timeout=10)
    assert words in str(caught.value)
    assert not group.wait(10)
    assert time.monotonic() - begin < 1
    stats = placement_group_table(group)["stats"]
    assert stats["scheduling_state"] == "INFEASIBLE"
    assert words in stats["failure"]
    if "GPU" not in bundles[0] and "unknown" not in bundles[0]:
        task = nothing.options(scheduling_strategy=InGroup(group))
        with pytest.raises(TaskUnschedulableError):
            rayc.get(task.remote(), timeout=10)
    assert rayc.get(nothing.remote(), timeout=10) == "done"


def test_infeasible_groups_wait_if_told_to(run_driver: Callable[..., str]) -> None:
    out = run_driver(
        "import rayc\n"
        "from rayc.util.placement_group import placement_group, placement_group_table\n"
        "rayc.init(num_cpus=1)\n"
        "group = placement_group([{'CPU': 2}])\n"
        "print(group.wait(0.3), placement_group_table(group)['state'])\n",
        RAYC_INFEASIBLE="wait",
    )
    assert out.split() == ["False", "PENDING"]


def test_many_groups(rayc_session: Any) -> None:
    for _ in range(3):
        groups = [placement_group([{"CPU": 0.01}]) for _ in range(100)]
        assert all(group.wait(10) for group in groups)
        for group in groups:
            remove_placement_group(group)
    assert wait_until(lambda: rayc.available_resources().get("CPU") == 2, 5)


# What it is asked for -------------------------------------------------------------------


@pytest.mark.parametrize(
    "bundles",
    [
        ({"CPU": 1},),
        {"CPU": 1},
        "CPU",
        [],
        [{}],
        [{"CPU": 1}, {}],
        [{"CPU": 0}],
        [{1: 1}],
        [{"CPU": "1"}],
        [{"CPU": True}],
        [{"CPU": -1}],
        [{"CPU": float("nan")}],
        [{"CPU": float("inf")}],
        [{"CPU": 0.00001}],
        [{"bundle": 1}],
        ["CPU"],
    ],
)
def test_bad_bundles(rayc_session: Any, bundles: Any) -> None:
    with pytest.raises(ValueError, match=r"bundle"):
        placement_group(bundles)


def test_bad_arguments(rayc_session: Any) -> None:
    bundles = [{"CPU": 1.0}]
    with pytest.raises(ValueError, match="STRICT_PACK"):
        placement_group(bundles, "PACKED")
    with pytest.raises(ValueError, match="lifetime"):
        placement_group(bundles, lifetime="for ever")
    with pytest.raises(ValueError, match="bundle_label_selector"):
        placement_group(bundles, bundle_label_selector=[])
    with pytest.raises(ValueError, match="exclude"):
        placement_group(bundles, "PACK", topology_strategy={"a": "b"})
    with pytest.raises(ValueError, match="STRICT_PACK"):
        placement_group(bundles, "PACK", _soft_target_node_id="ab" * 28)
    with pytest.raises(ValueError, match="not the id"):
        placement_group(bundles, "STRICT_PACK", _soft_target_node_id="ab")
    group = placement_group(bundles)
    with pytest.raises(TypeError):
        group.wait("1")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="timeout_seconds"):
        group.wait(-5)
    with pytest.raises(TypeError):
        remove_placement_group("group")  # type: ignore[arg-type]


def test_names(rayc_session: Any) -> None:
    group = placement_group([{"CPU": 1}], name="mine")
    assert get_placement_group("mine") == group
    assert get_placement_group("mine").bundle_specs == [{"CPU": 1.0}]
    with pytest.raises(ValueError, match="mine"):
        placement_group([{"CPU": 1}], name="mine")
    for name in ("", "yours"):
        with pytest.raises(ValueError, match="name"):
            get_placement_group(name)
    remove_placement_group(group)
    with pytest.raises(ValueError, match="mine"):
        get_placement_group("mine")
    assert placement_group([{"CPU": 1}], name="mine").wait(10)


# Tasks and actors in it -----------------------------------------------------------------


def test_tasks_in_a_group(rayc_session: Any) -> None:
    group = placement_group([{"CPU": 1}, {"CPU": 1}])

    @rayc.remote
    def look() -> tuple[Any, ...]:
        context = rayc.get_runtime_context()
        return (
            context.get_placement_group_id(),
            context.get_assigned_resources(),
            get_current_placement_group(),
            context.should_capture_child_tasks_in_placement_group,
        )

    # Submitted before anybody waited for the group.
    in_group = [look.options(scheduling_strategy=InGroup(group, i)) for i in (0, 1, -1)]
    for found in rayc.get([task.remote() for task in in_group], timeout=20):
        assert found == (group.id.hex(), {"CPU": 1.0}, group, False)
    # All CPUs are in the group: a task outside waits, until they come back.
    outside = look.remote()
    assert rayc.wait([outside], timeout=0.3) == ([], [outside])
    remove_placement_group(group)
    assert rayc.get(outside, timeout=10) == (None, {"CPU": 1.0}, None, False)
    assert get_current_placement_group() is None
    assert rayc.get_runtime_context().get_placement_group_id() is None


def test_the_old_options(rayc_session: Any) -> None:
    group = placement_group([{"CPU": 1}])

    @rayc.remote
    def look() -> str | None:
        return rayc.get_runtime_context().get_placement_group_id()

    task = look.options(placement_group=group, placement_group_bundle_index=0)
    assert rayc.get(task.remote(), timeout=10) == group.id.hex()
    assert rayc.get(look.options(placement_group=None).remote(), timeout=10) is None
    with pytest.raises(ValueError, match="exclude"):
        look.options(placement_group=group, scheduling_strategy="SPREAD")
    with pytest.raises(ValueError, match="placement_group"):
        look.options(placement_group="mine").remote()


def test_a_bundle_holds_no_more_than_it_has(rayc_session: Any) -> None:
    group = placement_group([{"CPU": 1}])
    task = sleep_for.options(scheduling_strategy=InGroup(group))
    begin = time.monotonic()
    assert rayc.get([task.remote(0.3), task.remote(0.3)]) == ["slept", "slept"]
    assert time.monotonic() - begin > 0.55


def test_requests_that_fit_no_bundle(rayc_session: Any) -> None:
    group = placement_group([{"CPU": 1}, {"CPU": 0.5}])
    for index, cpus in ((-1, 2), (1, 1), (-1, 1.5)):
        task = nothing.options(scheduling_strategy=InGroup(group, index), num_cpus=cpus)
        with pytest.raises(ValueError, match="fit"):
            task.remote()
    for index in (2, -2):
        with pytest.raises(ValueError, match="bundle_index"):
            nothing.options(scheduling_strategy=InGroup(group, index)).remote()
    custom = placement_group([{"memory": 1000}])
    with pytest.raises(ValueError, match="fit"):  # needs a CPU to be placed
        Counter.options(scheduling_strategy=InGroup(custom)).remote()
    counter = Counter.options(scheduling_strategy=InGroup(custom), num_cpus=0).remote()
    assert rayc.get(counter.add.remote(), timeout=10) == 1


def test_actors_in_a_group(rayc_session: Any) -> None:
    group = placement_group([{"CPU": 1}, {"CPU": 1}])
    strategy = InGroup(group, 1)
    actors = [Counter.options(scheduling_strategy=strategy).remote() for _ in range(3)]
    assert rayc.get([actor.add.remote() for actor in actors], timeout=10) == [1, 1, 1]
    holder = Counter.options(scheduling_strategy=strategy, num_cpus=1).remote()
    assert rayc.get(holder.add.remote(), timeout=10) == 1
    late = Counter.options(scheduling_strategy=strategy, num_cpus=1).remote()
    waiting = late.add.remote()
    assert rayc.wait([waiting], timeout=0.3) == ([], [waiting])
    task = nothing.options(scheduling_strategy=InGroup(group, 0))
    assert rayc.get(task.remote(), timeout=10) == "done"


def test_children_are_captured_only_if_asked_for(rayc_session: Any) -> None:
    group = placement_group([{"CPU": 1}])

    @rayc.remote
    def look() -> str | None:
        return rayc.get_runtime_context().get_placement_group_id()

    @rayc.remote
    def parent() -> tuple[Any, ...]:
        inside = look.remote()
        outside = look.options(placement_group=None).remote()
        return tuple(rayc.get([inside, outside]))

    @rayc.remote(num_cpus=0)
    class Parent:
        def ask(self) -> Any:
            return rayc.get(look.remote())

    for captures, expected in ((True, (group.id.hex(), None)), (None, (None, None))):
        strategy = InGroup(group, placement_group_capture_child_tasks=captures)
        task = parent.options(scheduling_strategy=strategy)
        assert rayc.get(task.remote(), timeout=10) == expected
        actor = Parent.options(scheduling_strategy=strategy).remote()
        assert rayc.get(actor.ask.remote(), timeout=10) == expected[0]


def test_gpus_of_bundles() -> None:
    rayc.init(num_cpus=2, num_gpus=2)
    group = placement_group([{"GPU": 1, "CPU": 1}, {"GPU": 1, "CPU": 1}])

    @rayc.remote(num_gpus=1, max_calls=0)
    def gpus() -> list[Any]:
        return list(rayc.get_gpu_ids())

    tasks = [gpus.options(scheduling_strategy=InGroup(group, i)).remote() for i in (0, 1)]
    assert sorted(rayc.get(tasks, timeout=20)) == [[0], [1]]
    only_gpu = placement_group([{"GPU": 1}])
    with pytest.raises(ValueError, match="fit"):
        Counter.options(scheduling_strategy=InGroup(only_gpu)).remote()


# Removal, and other ends ----------------------------------------------------------------


def test_removal_ends_what_runs_in_it(rayc_session: Any) -> None:
    group = placement_group([{"CPU": 1}, {"CPU": 1}])
    strategy = InGroup(group)
    running = sleep_for.options(scheduling_strategy=strategy).remote(60)
    actor = Counter.options(scheduling_strategy=strategy, num_cpus=1, max_restarts=-1).remote()
    assert rayc.get(actor.add.remote(), timeout=10) == 1
    call = actor.sleep_for.remote(60)
    queued = sleep_for.options(scheduling_strategy=strategy).remote(60)
    time.sleep(0.2)
    remove_placement_group(group)
    for ref in (running, queued):
        with pytest.raises(TaskPlacementGroupRemoved, match="removed"):
            rayc.get(ref, timeout=10)
    with pytest.raises(ActorPlacementGroupRemoved, match="placement group"):
        rayc.get(call, timeout=10)
    with pytest.raises(ActorPlacementGroupRemoved):
        rayc.get(actor.add.remote(), timeout=10)
    assert rayc.get([nothing.remote() for _ in range(4)], timeout=10) == ["done"] * 4
    remove_placement_group(group)  # twice: nothing


def test_what_comes_after_removal(rayc_session: Any) -> None:
    group = placement_group([{"CPU": 1}])
    assert group.wait(10)
    remove_placement_group(group)
    assert not group.wait(10)
    with pytest.raises(TaskPlacementGroupRemoved):
        rayc.get(group.ready(), timeout=10)
    task = nothing.options(scheduling_strategy=InGroup(group))
    with pytest.raises(TaskPlacementGroupRemoved):
        rayc.get(task.remote(), timeout=10)
    actor = Counter.options(scheduling_strategy=InGroup(group)).remote()
    with pytest.raises(ActorPlacementGroupRemoved):
        rayc.get(actor.add.remote(), timeout=10)


def test_removal_of_a_pending_group(rayc_session: Any) -> None:
    first = placement_group([{"CPU": 2}])
    assert first.wait(10)
    pending = placement_group([{"CPU": 2}])
    ready = pending.ready()
    waiting = nothing.options(scheduling_strategy=InGroup(pending)).remote()
    assert rayc.wait([ready, waiting], timeout=0.2) == ([], [ready, waiting])
    remove_placement_group(pending)
    for ref in (ready, waiting):
        with pytest.raises(TaskPlacementGroupRemoved):
            rayc.get(ref, timeout=10)
    remove_placement_group(first)
    assert placement_group([{"CPU": 2}]).wait(10)


def test_a_blocked_task_lends_the_cpu_of_its_bundle(rayc_session: Any) -> None:
    group = placement_group([{"CPU": 1}])
    strategy = InGroup(group)

    @rayc.remote
    def outer() -> Any:
        return rayc.get(nothing.options(scheduling_strategy=strategy).remote())

    assert rayc.get(outer.options(scheduling_strategy=strategy).remote(), timeout=10) == "done"


def test_groups_made_in_tasks(rayc_session: Any) -> None:
    @rayc.remote
    def make() -> PlacementGroup:
        group = placement_group([{"CPU": 2}])
        assert group.wait(10)  # lends its own CPU meanwhile
        return group

    group = rayc.get(make.remote(), timeout=10)
    assert group.wait(10)
    task = nothing.options(scheduling_strategy=InGroup(group))
    assert rayc.get(task.remote(), timeout=10) == "done"


def test_groups_in_local_variables_of_an_old_session(rayc_session: Any) -> None:
    group = placement_group([{"CPU": 1}])
    rayc.shutdown()
    rayc.init(num_cpus=1)
    assert not group.wait(10)
