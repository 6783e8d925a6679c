"""put and get, references, and their lifetimes."""

from __future__ import annotations

import collections
import dataclasses
import gc
import math
import pickle
from typing import Any

import pytest

import rayc

pytestmark = pytest.mark.usefixtures("rayc_session")


@dataclasses.dataclass
class Point:
    x: int
    y: Any = None


class Celsius(float):
    pass


Pair = collections.namedtuple("Pair", "left right")

VALUES: list[Any] = [
    None,
    True,
    False,
    0,
    -1,
    2**62,
    -(2**63),
    2**63,
    10**40,
    1.5,
    float("inf"),
    "",
    "text",
    "naïve \u20ac \U0001f600",
    "\ud800",
    b"",
    b"bytes\0",
    bytearray(b"abc"),
    (),
    (1, "a", None),
    [],
    [1, [2, [3, ()]]],
    {},
    {"a": 1, 2: "b", None: [True], (1, 2): {}},
    {1, 2},
    frozenset({"x"}),
    1 + 2j,
    range(3),
    Point(1, [2]),
    Pair(1, 2),
    Celsius(3.5),
    collections.OrderedDict(a=1, b=2),
    collections.defaultdict(list, a=[1]),
    slice(1, 2),
    int,
    len,
]


@pytest.mark.parametrize("value", VALUES, ids=lambda value: repr(value)[:30])
def test_a_value_comes_back_as_it_was(value: Any) -> None:
    back = rayc.get(rayc.put(value))
    assert type(back) is type(value)
    assert back == value


def test_signs_and_nan() -> None:
    assert math.copysign(1, rayc.get(rayc.put(-0.0))) == -1
    assert math.isnan(rayc.get(rayc.put(float("nan"))))
    assert rayc.get(rayc.put([True, 1, 1.0])) == [True, 1, 1.0]
    assert [type(one) for one in rayc.get(rayc.put([True, 1, 1.0]))] == [bool, int, float]


def test_recursive_values() -> None:
    value: list[Any] = [1]
    value.append(value)
    back = rayc.get(rayc.put(value))
    assert back[0] == 1
    assert back[1] is back


def test_shared_objects_stay_shared() -> None:
    point = Point(1)
    a, b = rayc.get(rayc.put([point, point]))
    assert a is b


def test_functions_and_lambdas() -> None:
    k = 3
    assert rayc.get(rayc.put(lambda x: x + k))(4) == 7


def test_get_returns_copies() -> None:
    value = [1]
    ref = rayc.put(value)
    value.append(2)
    first = rayc.get(ref)
    assert first == [1]
    first.append(3)
    assert rayc.get(ref) == [1]


def test_get_of_a_list_keeps_order_and_duplicates() -> None:
    a, b = rayc.put("a"), rayc.put("b")
    assert rayc.get([b, a, b]) == ["b", "a", "b"]
    assert rayc.get([]) == []


def test_references_are_hashable_and_equal_by_id() -> None:
    a, b = rayc.put(1), rayc.put(1)
    assert a == a
    assert a != b
    assert len({a, b, a}) == 2
    assert repr(a) == f"ObjectRef({a.hex()})"
    assert len(a.binary()) == rayc.ObjectRef.size() == 28
    assert rayc.ObjectID is rayc.ObjectRef


def test_ids() -> None:
    assert rayc.JobID.size() == 4
    assert rayc.ActorID.size() == 16
    assert rayc.TaskID.size() == 24
    assert rayc.PlacementGroupID.size() == 18
    assert rayc.NodeID.size() == rayc.WorkerID.size() == rayc.FunctionID.size() == 28
    one = rayc.NodeID.from_random()
    assert rayc.NodeID.from_hex(one.hex()) == one == rayc.NodeID(one.binary())
    assert rayc.NodeID.nil().is_nil()
    assert not one.is_nil()
    with pytest.raises(ValueError):
        rayc.NodeID(b"short")
    with pytest.raises(TypeError):
        rayc.NodeID("text")  # type: ignore[arg-type]


def test_a_reference_inside_of_an_object_keeps_the_inner_object() -> None:
    inner = rayc.put({"deep": 1})
    outer = rayc.put([inner])
    del inner
    gc.collect()
    (again,) = rayc.get(outer)
    assert rayc.get(again) == {"deep": 1}


def test_a_task_can_return_a_reference() -> None:
    @rayc.remote
    def make() -> list[Any]:
        return [rayc.put("from the worker")]

    (ref,) = rayc.get(make.remote())
    assert rayc.get(ref) == "from the worker"


def test_a_borrowed_reference_keeps_the_object() -> None:
    @rayc.remote
    class Keeper:
        def keep(self, box: list[Any]) -> None:
            self.box = box

        def read(self) -> Any:
            return rayc.get(self.box[0])

    keeper = Keeper.remote()
    ref = rayc.put(b"x" * 200_000)
    rayc.get(keeper.keep.remote([ref]))
    del ref
    gc.collect()
    for _ in range(5):
        rayc.put(b"y" * 200_000)
    assert rayc.get(keeper.read.remote()) == b"x" * 200_000


def test_the_store_does_not_fill_up_with_garbage() -> None:
    rayc.shutdown()
    rayc.init(num_cpus=1, object_store_memory=100 * 2**20)
    for i in range(40):
        data = bytes([i]) * (20 * 2**20)
        assert rayc.get(rayc.put(data)) == data


def test_an_object_larger_than_the_store() -> None:
    rayc.shutdown()
    rayc.init(num_cpus=1, object_store_memory=80 * 2**20)
    with pytest.raises(rayc.exceptions.ObjectStoreFullError) as caught:
        rayc.put(bytes(200 * 2**20))
    assert "200" in str(caught.value) or str(200 * 2**20) in str(caught.value).replace(",", "")
    assert rayc.get(rayc.put(1)) == 1


def test_get_with_timeout() -> None:
    import time

    @rayc.remote
    def slow() -> int:
        time.sleep(1.5)
        return 1

    ref = slow.remote()
    with pytest.raises(rayc.exceptions.GetTimeoutError) as caught:
        rayc.get(ref, timeout=0.05)
    assert isinstance(caught.value, TimeoutError)
    with pytest.raises(rayc.exceptions.GetTimeoutError):
        rayc.get([ref], timeout=0)
    assert rayc.get(ref, timeout=60) == 1
    assert rayc.get(ref, timeout=0) == 1
    assert rayc.get(ref, timeout=-1) == 1


def test_writable_copies() -> None:
    import numpy as np

    ref = rayc.put({"a": np.arange(1000)})
    copy = rayc.get(ref, copy=True)
    copy["a"][0] = 5
    assert rayc.get(ref)["a"][0] == 0


def test_a_reference_cannot_be_used_after_its_session() -> None:
    ref = rayc.put(1)
    rayc.shutdown()
    with pytest.raises(ValueError, match="session"):
        rayc.get(ref)
    rayc.init(num_cpus=1)
    with pytest.raises(ValueError, match="session"):
        rayc.get(ref)
    with pytest.raises(ValueError, match="session"):
        rayc.get([ref])
    with pytest.raises(ValueError, match="session"):
        rayc.wait([ref])


def test_pickled_references_outside_of_the_runtime() -> None:
    import cloudpickle

    ref = rayc.put("value")
    assert rayc.get(pickle.loads(cloudpickle.dumps(ref))) == "value"
