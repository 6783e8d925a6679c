"""Strategy objects: which node a task or actor runs on."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest
from drivers import wait_until

import rayc
from rayc.exceptions import ActorUnschedulableError, TaskUnschedulableError
from rayc.util.scheduling_strategies import (
    DoesNotExist,
    Exists,
    In,
    NodeAffinitySchedulingStrategy,
    NodeLabelSchedulingStrategy,
    NotIn,
    PlacementGroupSchedulingStrategy,
)

NODE_ID = "ray.io/node-id"


@rayc.remote
def where() -> str:
    return rayc.get_runtime_context().get_node_id()


@rayc.remote
class Place:
    def where(self) -> str:
        return rayc.get_runtime_context().get_node_id()


def here() -> str:
    return rayc.get_runtime_context().get_node_id()


@pytest.mark.parametrize("strategy", [None, "DEFAULT", "SPREAD"])
def test_names(rayc_session: Any, strategy: str | None) -> None:
    assert rayc.get(where.options(scheduling_strategy=strategy).remote(), timeout=10) == here()
    actor = Place.options(scheduling_strategy=strategy).remote()
    assert rayc.get(actor.where.remote(), timeout=10) == here()


@pytest.mark.parametrize("strategy", ["default", "SPREADING", 3, object()])
def test_no_strategies(rayc_session: Any, strategy: Any) -> None:
    task = where.options(scheduling_strategy=strategy)  # late
    with pytest.raises(ValueError, match="scheduling_strategy"):
        task.remote()
    with pytest.raises(ValueError, match="scheduling_strategy"):
        Place.options(scheduling_strategy=strategy).remote()


@pytest.mark.parametrize("soft", [True, False])
def test_affinity_to_this_node(rayc_session: Any, soft: bool) -> None:
    strategy = NodeAffinitySchedulingStrategy(here(), soft=soft)
    assert rayc.get(where.options(scheduling_strategy=strategy).remote(), timeout=10) == here()
    actor = Place.options(scheduling_strategy=strategy).remote()
    assert rayc.get(actor.where.remote(), timeout=10) == here()


def test_affinity_to_a_node_that_is_not_there(rayc_session: Any) -> None:
    nobody = "ab" * 28
    begin = time.monotonic()
    hard = NodeAffinitySchedulingStrategy(nobody, soft=False)
    with pytest.raises(TaskUnschedulableError, match=nobody):
        rayc.get(where.options(scheduling_strategy=hard).remote(), timeout=10)
    lost = Place.options(scheduling_strategy=hard).remote()
    with pytest.raises(ActorUnschedulableError, match=nobody):
        rayc.get(lost.where.remote(), timeout=10)
    assert time.monotonic() - begin < 1
    soft = NodeAffinitySchedulingStrategy(nobody, soft=True)
    assert rayc.get(where.options(scheduling_strategy=soft).remote(), timeout=10) == here()
    actor = Place.options(scheduling_strategy=soft).remote()
    assert rayc.get(actor.where.remote(), timeout=10) == here()


def test_affinity_waits_for_a_busy_node_unless_told_otherwise(tmp_path: Path) -> None:
    rayc.init(num_cpus=1)
    begun, may_end = tmp_path / "begun", tmp_path / "may_end"

    @rayc.remote
    def busy() -> None:
        begun.touch()
        while not may_end.exists():
            time.sleep(0.01)

    running = busy.remote()
    assert wait_until(begun.exists, 20)
    fails = NodeAffinitySchedulingStrategy(here(), soft=False, _fail_on_unavailable=True)
    with pytest.raises(TaskUnschedulableError, match="CPU"):
        rayc.get(where.options(scheduling_strategy=fails).remote(), timeout=10)
    waits = NodeAffinitySchedulingStrategy(here(), soft=False)
    waiting = where.options(scheduling_strategy=waits).remote()
    assert rayc.wait([waiting], timeout=0.1) == ([], [waiting])
    may_end.touch()
    assert rayc.get(waiting, timeout=20) == here()
    rayc.get(running)


@pytest.mark.parametrize(
    "arguments",
    [
        {"node_id": "ab", "soft": True},
        {"node_id": "zz" * 28, "soft": True},
        {"node_id": "ff" * 28, "soft": True},  # nil
        {"node_id": None, "soft": True},
        {"node_id": "ab" * 28, "soft": False, "_spill_on_unavailable": True},
        {"node_id": "ab" * 28, "soft": True, "_fail_on_unavailable": True},
    ],
)
def test_bad_affinity(arguments: dict[str, Any]) -> None:
    with pytest.raises(ValueError):
        NodeAffinitySchedulingStrategy(**arguments)


def test_labels(rayc_session: Any) -> None:
    for hard in (
        {NODE_ID: In(here(), "other")},
        {NODE_ID: NotIn("other")},
        {NODE_ID: Exists(), "zone": DoesNotExist()},
        {"zone": NotIn("a")},
    ):
        strategy = NodeLabelSchedulingStrategy(hard)
        assert rayc.get(where.options(scheduling_strategy=strategy).remote(), timeout=10) == here()
    soft = NodeLabelSchedulingStrategy({}, soft={"zone": In("a")})
    assert rayc.get(where.options(scheduling_strategy=soft).remote(), timeout=10) == here()
    for hard in ({NODE_ID: NotIn(here())}, {"zone": Exists()}, {"zone": In("a")}):
        strategy = NodeLabelSchedulingStrategy(hard)
        with pytest.raises(TaskUnschedulableError, match="labels"):
            rayc.get(where.options(scheduling_strategy=strategy).remote(), timeout=10)
        with pytest.raises(ActorUnschedulableError, match="labels"):
            actor = Place.options(scheduling_strategy=strategy).remote()
            rayc.get(actor.where.remote(), timeout=10)


@pytest.mark.parametrize("hard", [{}, "zone", {"zone": "a"}, {1: Exists()}])
def test_bad_labels(hard: Any) -> None:
    with pytest.raises(ValueError):
        NodeLabelSchedulingStrategy(hard)


def test_bad_values_of_labels() -> None:
    for condition in (In, NotIn):
        with pytest.raises(ValueError):
            condition(1)  # type: ignore[arg-type]


def test_bad_groups() -> None:
    with pytest.raises(TypeError):
        PlacementGroupSchedulingStrategy("group")  # type: ignore[arg-type]
    with pytest.raises(TypeError):
        PlacementGroupSchedulingStrategy(None, "0")  # type: ignore[arg-type]
