"""Whatever is put comes back with the same types and the same values."""

from __future__ import annotations

import dataclasses
import enum
import math
import types
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

import rayc

hypothesis = pytest.importorskip("hypothesis")
from hypothesis import HealthCheck, given, settings  # noqa: E402
from hypothesis import strategies as st  # noqa: E402

pytestmark = pytest.mark.usefixtures("session")

properties = settings(
    max_examples=200,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
    database=None,
    derandomize=True,
)


@pytest.fixture
def session() -> Iterator[None]:
    """A session with a store of the smallest size."""
    rayc.init(num_cpus=1, object_store_memory=100 << 20)
    yield
    rayc.shutdown()


@dataclasses.dataclass
class Node:
    name: str
    value: Any = None
    children: list[Any] = dataclasses.field(default_factory=list)


@dataclasses.dataclass(frozen=True)
class Key:
    number: int
    text: str


class Colour(enum.Enum):
    RED = 1
    GREEN = "g"


class IntLike(int):
    pass


class TextLike(str):
    pass


class ListLike(list):  # type: ignore[type-arg]
    pass


class DictLike(dict):  # type: ignore[type-arg]
    pass


def same(a: Any, b: Any) -> bool:
    """Whether two values are equal in value, and of the same types throughout."""
    if type(a) is not type(b):
        return False
    if isinstance(a, float):
        return math.copysign(1, a) == math.copysign(1, b) and (a == b or (a != a and b != b))
    if isinstance(a, complex):
        return same(a.real, b.real) and same(a.imag, b.imag)
    if isinstance(a, (list, tuple)):
        return len(a) == len(b) and all(map(same, a, b))
    if isinstance(a, dict):
        return same(list(a), list(b)) and same(list(a.values()), list(b.values()))
    if isinstance(a, (set, frozenset)):
        return same(sorted(a, key=repr), sorted(b, key=repr))
    if isinstance(a, np.ndarray):
        return a.dtype == b.dtype and a.shape == b.shape and a.tobytes() == b.tobytes()
    if dataclasses.is_dataclass(a):
        return all(
            same(getattr(a, one.name), getattr(b, one.name)) for one in dataclasses.fields(a)
        )
    return bool(a == b)


def round_trip(value: Any) -> Any:
    return rayc.get(rayc.put(value))


SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.sampled_from([-(2**63) - 1, -(2**63), 2**63 - 1, 2**63, 2**64, -1, 255, 256]),
    st.floats(),
    st.complex_numbers(allow_nan=True),
    st.text(st.characters(exclude_categories=())),  # with lone surrogates
    st.binary(),
)
HASHABLE = st.one_of(
    st.none(), st.booleans(), st.integers(), st.text(), st.binary(), st.floats(allow_nan=False)
)
ODD = st.one_of(
    st.builds(bytearray, st.binary()),
    st.builds(range, st.integers(-10, 10), st.integers(-10, 10)),
    st.builds(IntLike, st.integers()),
    st.builds(TextLike, st.text()),
    st.builds(ListLike, st.lists(st.integers(), max_size=3)),
    st.builds(DictLike, st.dictionaries(st.text(), st.integers(), max_size=3)),
    st.builds(Key, st.integers(), st.text()),
    st.sampled_from(Colour),
    st.decimals(allow_nan=False),
    st.datetimes(),
    st.uuids(),
    st.fractions(),
)


def nested(leaves: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.recursive(
        leaves,
        lambda inner: st.one_of(
            st.lists(inner, max_size=5),
            st.lists(inner, max_size=5).map(tuple),
            st.dictionaries(HASHABLE, inner, max_size=5),
            st.sets(HASHABLE, max_size=5),
            st.frozensets(HASHABLE, max_size=5),
        ),
        max_leaves=30,
    )


PLAIN = nested(SCALARS)


@properties
@given(PLAIN)
def test_any_nesting_of_plain_values(value: Any) -> None:
    assert same(round_trip(value), value)


@properties
@given(nested(st.one_of(SCALARS, ODD)))
def test_any_nesting_with_other_objects(value: Any) -> None:
    assert same(round_trip(value), value)


@properties
@given(st.lists(PLAIN, max_size=4), st.dictionaries(st.text(), PLAIN, max_size=4))
def test_arguments_and_results(args: list[Any], kwargs: dict[str, Any]) -> None:
    back_args, back_kwargs = rayc.get(give_back.remote(*args, **kwargs))
    assert same(list(back_args), args)
    assert same(back_kwargs, kwargs)


@rayc.remote
def give_back(*args: Any, **kwargs: Any) -> Any:
    return args, kwargs


DTYPES = [
    *"?bBhHiIqQefdgFDG",
    "<i4",
    ">i4",
    ">f8",
    "S5",
    "U3",
    "M8[s]",
    "m8[ms]",
    "V3",
    [("x", "<i2"), ("y", ">f4", (2,))],
]


@properties
@given(
    st.sampled_from(DTYPES),
    st.lists(st.integers(0, 5), max_size=4),
    st.sampled_from("CF"),
    st.randoms(use_true_random=False),
)
def test_arrays_of_any_kind(dtype: Any, shape: list[int], order: Any, source: Any) -> None:
    kind = np.dtype(dtype)
    count = math.prod(shape)
    data = source.randbytes(count * kind.itemsize)
    if kind.kind == "U":
        data = np.array([source.choice(["", "a", "äöü", "\U0001f600"])] * count, kind).tobytes()
    if kind.kind == "b":
        data = bytes(byte & 1 for byte in data)
    value = np.frombuffer(data, kind).reshape(shape) if count else np.empty(shape, kind)
    value = np.asarray(value, order=order)
    back = round_trip(value)
    assert same(back, value)
    # Dates cannot be exported as a buffer, so these are copies of one's own.
    assert not back.flags.writeable or back.size == 0 or kind.kind in "mM"
    assert back.flags.f_contiguous == value.flags.f_contiguous
    inside = round_trip({"array": [value], "again": value})
    assert same(inside["array"][0], value)
    assert inside["again"] is inside["array"][0]


@properties
@given(st.integers(1, 4), st.integers(1, 40_000), st.integers(-3, 3))
def test_views_of_arrays(start: int, size: int, step: int) -> None:
    value = np.arange(size)[start :: step or 1]
    assert same(round_trip(value), value)
    wide = np.arange(size * 4).reshape(4, size)
    assert same(round_trip(wide.T), wide.T)
    assert same(round_trip(np.broadcast_to(value, (2, len(value)))), np.stack([value, value]))


@properties
@given(
    st.recursive(
        st.builds(Node, st.text(), SCALARS),
        lambda inner: st.builds(Node, st.text(), SCALARS, st.lists(inner, max_size=3)),
        max_leaves=20,
    )
)
def test_dataclasses(value: Node) -> None:
    assert same(round_trip(value), value)


@properties
@given(st.lists(st.tuples(st.integers(0, 9), st.integers(0, 9)), max_size=30))
def test_recursive_and_shared_structures(edges: list[tuple[int, int]]) -> None:
    # Any graph of ten objects, with cycles and shared ones: comes back as the same graph.
    nodes = [Node(str(number)) for number in range(10)]
    for source, target in edges:
        nodes[source].children.append(nodes[target])
    back = round_trip(nodes)
    places = {id(node): number for number, node in enumerate(back)}
    assert len(places) == 10
    for node, expected in zip(back, nodes, strict=True):
        assert node.name == expected.name
        targets = [places[id(child)] for child in node.children]
        assert targets == [int(child.name) for child in expected.children]


@properties
@given(st.lists(st.integers(0, 4), min_size=1, max_size=10))
def test_containers_that_contain_themselves(path: list[int]) -> None:
    kinds: list[Any] = [[], {}, Node("self"), ListLike(), DictLike()]
    made = [type(kinds[which])() if which != 2 else Node("n") for which in path]
    for outer, inner in zip(made, [*made[1:], made[0]], strict=True):
        if isinstance(outer, list):
            outer.append(inner)
        elif isinstance(outer, dict):
            outer["next"] = inner
        else:
            outer.value = inner

    def step(value: Any) -> Any:
        if isinstance(value, list):
            return value[0]
        return value["next"] if isinstance(value, dict) else value.value

    back = round_trip(made[0])
    at = back
    for expected in made:
        assert type(at) is type(expected)
        at = step(at)
    assert at is back


@properties
@given(PLAIN, st.integers(), st.dictionaries(st.text(), st.integers(), max_size=3))
def test_closures(captured: Any, default: int, keywords: dict[str, int]) -> None:
    def make() -> Any:
        count = 0

        def inner(x: int = default, **kw: int) -> Any:
            nonlocal count
            count += 1
            return captured, x, kw, count

        return inner

    function = round_trip(make())
    assert isinstance(function, types.FunctionType)
    assert same(
        function(**keywords),
        (
            captured,
            keywords.get("x", default),
            {name: value for name, value in keywords.items() if name != "x"},
            1,
        ),
    )
    assert function()[3] == 2
    assert same(rayc.get(call.remote(make())), (captured, default, {}, 1))


@rayc.remote
def call(function: Any) -> Any:
    return function()


@properties
@given(PLAIN)
def test_errors_carry_any_value(value: Any) -> None:
    @rayc.remote
    def fail() -> None:
        raise LookupError(value)

    with pytest.raises(LookupError) as caught:
        rayc.get(fail.remote())
    assert same(caught.value.cause.args, (value,))  # type: ignore[attr-defined]
