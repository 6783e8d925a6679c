"""Options of tasks, actors and methods: what is checked when, without a session."""

from __future__ import annotations

from typing import Any

import pytest

import rayc
from rayc._private.options import actor_demand, max_calls_of, task_demand


def function() -> None:
    pass


class Class:
    def method(self) -> None:
        pass


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"unknown": 1}, ValueError),
        ({"max_restarts": 1}, ValueError),
        ({"unknown": 1, "num_cpus": "x"}, ValueError),  # names come first
        ({"num_cpus": "2"}, TypeError),
        ({"num_cpus": "2", "num_gpus": -1}, TypeError),  # then types
        ({"num_cpus": [1]}, TypeError),
        ({"num_cpus": -1}, ValueError),
        ({"num_cpus": float("inf")}, ValueError),
        ({"num_cpus": float("nan")}, ValueError),
        ({"num_cpus": 0.00001}, ValueError),
        ({"num_gpus": -0.5}, ValueError),
        ({"resources": [1]}, TypeError),
        ({"resources": {"CPU": 1}}, ValueError),
        ({"resources": {"GPU": 1}}, ValueError),
        ({"resources": {"x": -1}}, ValueError),
        ({"resources": {"x": float("inf")}}, ValueError),
        ({"resources": {"x": "1"}}, TypeError),
        ({"resources": {1: 1}}, TypeError),
        ({"memory": -1}, ValueError),
        ({"num_returns": -1}, ValueError),
        ({"num_returns": 1.5}, TypeError),
        ({"num_returns": "some"}, ValueError),
        ({"num_returns": "streaming"}, ValueError),  # not a generator
        ({"max_retries": -2}, ValueError),
        ({"max_retries": 1.5}, TypeError),
        ({"max_retries": None}, TypeError),
        ({"retry_exceptions": None}, TypeError),
        ({"retry_exceptions": "x"}, TypeError),
        ({"retry_exceptions": [1]}, TypeError),
        ({"max_calls": -1}, ValueError),
        ({"object_store_memory": 1}, ValueError),
        ({"_generator_backpressure_num_objects": 0}, ValueError),
        ({"name": 1}, TypeError),
        ({"runtime_env": 1}, TypeError),
        ({"label_selector": {"a": 1}}, TypeError),
        ({"fallback_strategy": [{"x": 1}]}, ValueError),
        ({"enable_task_events": 1}, TypeError),
    ],
    ids=repr,
)
def test_options_of_tasks(options: dict[str, Any], error: type[Exception]) -> None:
    with pytest.raises(error) as caught:
        rayc.remote(**options)(function)
    assert type(caught.value) is error
    if "max_calls" not in options:
        with pytest.raises(error):
            rayc.remote(function).options(**options)


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"unknown": 1}, ValueError),
        ({"num_returns": 1}, ValueError),
        ({"max_retries": 1}, ValueError),
        ({"max_restarts": -2}, ValueError),
        ({"max_task_retries": -2}, ValueError),
        ({"max_concurrency": -1}, ValueError),
        ({"max_concurrency": 1.5}, TypeError),
        ({"lifetime": "for ever"}, ValueError),
        ({"lifetime": 1}, TypeError),
        ({"namespace": ""}, ValueError),
        ({"namespace": 1}, TypeError),
        ({"name": 1}, TypeError),
        ({"get_if_exists": True}, ValueError),
        ({"max_pending_calls": -2}, ValueError),
        ({"enable_tensor_transport": True}, ValueError),
        ({"concurrency_groups": {"io": 0}}, ValueError),
        ({"concurrency_groups": {"io": "1"}}, TypeError),
    ],
    ids=repr,
)
def test_options_of_actors(options: dict[str, Any], error: type[Exception]) -> None:
    with pytest.raises(error) as caught:
        rayc.remote(**options)(Class)
    assert type(caught.value) is error
    if "concurrency_groups" not in options:
        with pytest.raises(error):
            rayc.remote(Class).options(**options)


def test_what_belongs_to_the_decorator() -> None:
    with pytest.raises(ValueError, match="max_calls"):
        rayc.remote(function).options(max_calls=1)
    with pytest.raises(ValueError, match="concurrency_groups"):
        rayc.remote(Class).options(concurrency_groups={"io": 1})


def test_messages_say_what_is_allowed() -> None:
    with pytest.raises(ValueError, match=r"'nmu_cpus'.*num_cpus"):
        rayc.remote(nmu_cpus=1)(function)
    with pytest.raises(TypeError, match=r"num_cpus.*number.*'2'"):
        rayc.remote(num_cpus="2")(function)


def test_good_options() -> None:
    rayc.remote(
        num_cpus=0.5,
        num_gpus=0,
        resources={"x": 0.5},
        memory=1e9,
        num_returns=2,
        max_retries=-1,
        retry_exceptions=[ValueError],
        name="n",
        scheduling_strategy="SPREAD",
        max_calls=1,
    )(function)
    rayc.remote(
        num_cpus=None,
        max_restarts=-1,
        max_task_retries=-1,
        max_concurrency=None,
        lifetime="detached",
        name="n",
        get_if_exists=True,
    )(Class)


def test_the_options_of_a_decorated_function_do_not_change() -> None:
    remote = rayc.remote(num_cpus=2)(function)
    remote.options(num_cpus=1)
    assert remote._options == {"num_cpus": 2}


def test_what_tasks_need() -> None:
    assert task_demand({}).held == {"CPU": 1.0}
    assert task_demand({"num_cpus": 0}).held == {}
    assert task_demand({"num_gpus": 1}).held == {"CPU": 1.0, "GPU": 1.0}
    assert task_demand({"memory": 10.7}).held == {"CPU": 1.0, "memory": 10.0}
    assert task_demand({"resources": {"x": 2, "zero": 0}}).held == {"CPU": 1.0, "x": 2.0}
    assert task_demand({"accelerator_type": "A100"}).held["accelerator_type:A100"] == 0.001


def test_what_actors_need() -> None:
    # By default a CPU to be placed, and nothing afterwards.
    assert actor_demand({}) == ({}, {"CPU": 1.0})
    assert actor_demand({"memory": 5}) == ({"memory": 5.0}, {"memory": 5.0, "CPU": 1.0})
    assert actor_demand({"num_cpus": 0}) == ({}, None)
    assert actor_demand({"num_cpus": 2}) == ({"CPU": 2.0}, None)
    assert actor_demand({"num_gpus": 1}) == ({"CPU": 1.0, "GPU": 1.0}, None)
    assert actor_demand({"resources": {"x": 1}}) == ({"CPU": 1.0, "x": 1.0}, None)


def test_amounts_that_are_refused_only_in_a_call() -> None:
    with pytest.raises(ValueError, match="whole"):
        task_demand({"num_gpus": 1.5})
    for name in ("memory", "object_store_memory", "bundle"):
        with pytest.raises(ValueError, match=name):
            task_demand({"resources": {name: 1}})


def test_max_calls_of_gpu_tasks() -> None:
    assert max_calls_of({}) == 0
    assert max_calls_of({"num_gpus": 0.5}) == 1
    assert max_calls_of({"num_gpus": 1, "max_calls": 0}) == 0


def test_the_method_decorator() -> None:
    class Example:
        @rayc.method
        def bare(self) -> None:
            pass

        @rayc.method(num_returns=2)
        def two(self) -> tuple[int, int]:
            return 1, 2

    assert Example().two() == (1, 2)
    with pytest.raises(AssertionError):
        rayc.method(unknown=1)
    with pytest.raises(AssertionError):
        rayc.method(1, 2)
    with pytest.raises(ValueError):
        rayc.method(num_returns="streaming")(lambda self: None)
    with pytest.raises(TypeError):
        rayc.method(num_returns=1.5)


def test_strategies() -> None:
    from rayc.util.scheduling_strategies import (
        Exists,
        In,
        NodeAffinitySchedulingStrategy,
        NodeLabelSchedulingStrategy,
    )

    node = rayc.NodeID.from_random()
    assert NodeAffinitySchedulingStrategy(node, soft=True).node_id == node.hex()
    assert NodeAffinitySchedulingStrategy(node.hex(), soft=False).node_id == node.hex()
    for bad in ("zz", "ab", rayc.NodeID.nil(), rayc.NodeID.nil().hex(), 3):
        with pytest.raises(ValueError):
            NodeAffinitySchedulingStrategy(bad, soft=True)  # type: ignore[arg-type]
    with pytest.raises(ValueError):
        NodeAffinitySchedulingStrategy(node, soft=False, _spill_on_unavailable=True)
    with pytest.raises(ValueError):
        NodeAffinitySchedulingStrategy(node, soft=True, _fail_on_unavailable=True)
    NodeLabelSchedulingStrategy({"a": In("b"), "c": Exists()})
    with pytest.raises(ValueError):
        NodeLabelSchedulingStrategy({})
    with pytest.raises(ValueError):
        NodeLabelSchedulingStrategy({"a": "b"})  # type: ignore[dict-item]
    with pytest.raises(ValueError):
        In()
