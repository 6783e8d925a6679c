"""Which values come out of the object store as views, and how long these hold their memory."""

from __future__ import annotations

import gc
import pickle
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
from drivers import wait_until

import rayc
from rayc import plasma

pytestmark = pytest.mark.usefixtures("rayc_session")

ROWS = 100_000
FREED_WITHIN_S = 5.0

Array = np.ndarray[Any, Any]


@pytest.fixture
def store(rayc_session: Any) -> Iterator[plasma.PlasmaClient]:
    """The store of the session, through a client of its own."""
    [node] = rayc.nodes()
    with plasma.connect(node["ObjectStoreSocketName"]) as client:
        yield client


def address(array: Array) -> int:
    return int(array.__array_interface__["data"][0])


def base_of(view: Any) -> Any:
    """What the array or memoryview is a view of, in the end."""
    while True:
        base = view.obj if isinstance(view, memoryview) else getattr(view, "base", None)
        if base is None:
            return view
        view = base


def is_shared(first: Array, second: Array) -> bool:
    """Whether two gets gave views of the same memory."""
    return address(first) == address(second) and not first.flags.owndata


def arrays() -> dict[str, Array]:
    numbers = np.arange(ROWS)
    table = numbers.reshape(100, -1)
    made = {
        code: (numbers % 100).astype(code)
        for code in "? i1 u2 >i4 i8 f2 f4 >f8 g c8 c16 S7 U3 V9".split()
        if code != "V9"
    }
    made["V9"] = np.zeros(ROWS, "V9")
    made["fortran"] = np.asfortranarray(table.astype(float))
    made["transposed"] = table.T
    made["transposed, three axes"] = numbers.reshape(20, 50, 100).transpose(1, 0, 2)
    made["rows of a table"] = table[10:90]
    made["structured"] = np.zeros(ROWS, [("x", "f4"), ("n", "i8"), ("name", "S3")])
    made["structured"]["n"] = numbers
    made["structured"]["name"] = b"abc"
    made["aligned structured"] = np.zeros(ROWS, np.dtype([("x", "i1"), ("n", "f8")], align=True))
    made["nested structured"] = np.ones(ROWS // 10, [("a", [("b", "i4", (2, 3))]), ("c", ">u2")])
    return made


@pytest.mark.parametrize("name", arrays())
def test_arrays_are_views(name: str) -> None:
    array = arrays()[name]
    ref = rayc.put(array)
    got = rayc.get(ref)
    assert type(got) is np.ndarray and got.dtype == array.dtype and got.shape == array.shape
    np.testing.assert_array_equal(got, array)
    assert got.flags.f_contiguous == array.flags.f_contiguous
    assert address(got) % 64 == 0
    assert is_shared(got, rayc.get(ref))
    assert not got.flags.writeable
    with pytest.raises(ValueError):
        got[...] = array
    with pytest.raises(ValueError):
        got.flags.writeable = True


@pytest.mark.parametrize(
    "make",
    [
        lambda: np.arange(ROWS)[::2],
        lambda: np.arange(ROWS).reshape(100, -1)[:, 10:20],
        lambda: np.arange(ROWS).astype("M8[s]"),
        lambda: np.arange(ROWS).astype("m8[ns]"),
        lambda: np.ma.array(np.arange(ROWS), mask=np.arange(ROWS) % 2 == 0),
        lambda: np.array(["text", None, 3] * 10_000, dtype=object),
    ],
    ids=["every other", "columns", "dates", "durations", "masked", "objects"],
)
def test_arrays_that_offer_no_buffer_come_back_by_copy(make: Callable[[], Array]) -> None:
    array = make()
    ref = rayc.put(array)
    got = rayc.get(ref)
    assert type(got) is type(array) and got.dtype == array.dtype
    np.testing.assert_array_equal(got, array)
    if got.flags.writeable:
        got[0] = got[1]
        np.testing.assert_array_equal(rayc.get(ref), array)


def test_bytes_come_back_as_bytes() -> None:
    for size in (0, 10, 2_000_000):
        for value in (b"x" * size, bytearray(b"x" * size)):
            got = rayc.get(rayc.put(value))
            assert type(got) is type(value) and got == value
    changed = rayc.get(rayc.put(bytearray(2_000_000)))
    changed[0] = 1  # its own copy


class Image:
    """A type that offers its bytes to pickle."""

    def __init__(self, pixels: Any, title: str) -> None:
        self.pixels = memoryview(pixels)
        self.title = title

    def __reduce_ex__(self, protocol: int) -> Any:
        return Image, (pickle.PickleBuffer(self.pixels), self.title)


def test_any_type_that_offers_buffers() -> None:
    image = Image(bytearray(range(256)) * 4096, "ramp")
    ref = rayc.put([image, image])
    first, second = rayc.get(ref)
    assert first is second and type(first).__name__ == "Image" and first.title == "ramp"
    assert first.pixels == image.pixels
    assert first.pixels.readonly
    assert address(np.asarray(first.pixels)) == address(np.asarray(rayc.get(ref)[0].pixels))
    with pytest.raises(TypeError):
        first.pixels[0] = 1
    copy = rayc.get(ref, copy=True)[0]
    copy.pixels[0] = 99
    assert rayc.get(ref)[0].pixels[0] == 0


def test_arrow_tables_are_views() -> None:
    pa = pytest.importorskip("pyarrow")
    table = pa.table(
        {
            "n": np.arange(ROWS),
            "s": [str(n) for n in range(ROWS)],
            "null": [None if n % 3 else n * 0.5 for n in range(ROWS)],
            "list": [[n, n + 1] for n in range(ROWS)],
            "dict": pa.array([f"{n % 5}" for n in range(ROWS)]).dictionary_encode(),
        }
    )
    for value in (table, table.to_batches()[0], table.column("n").chunk(0)):
        ref = rayc.put(value)
        got, again = rayc.get(ref), rayc.get(ref)
        assert type(got) is type(value) and got.equals(value)
        assert arrow_addresses(got) == arrow_addresses(again)
        assert not set(arrow_addresses(got)) & set(arrow_addresses(value))
    buffers = [part for part in rayc.get(rayc.put(table)).column("n").chunk(0).buffers() if part]
    assert buffers and not any(part.is_mutable for part in buffers)


def arrow_addresses(value: Any) -> list[int]:
    columns = value.columns if hasattr(value, "columns") else [value]
    chunks = [chunk for column in columns for chunk in getattr(column, "chunks", [column])]
    # Empty ones lie nowhere.
    return [part.address for chunk in chunks for part in chunk.buffers() if part and part.size > 0]


def test_frames_have_views() -> None:
    pd = pytest.importorskip("pandas")
    frame = pd.DataFrame(
        {
            "a": np.arange(ROWS) * 1.0,
            "b": np.arange(ROWS) * 2.0,
            "i": np.arange(ROWS),
            "flag": np.arange(ROWS) % 2 == 0,
            "text": [str(n) for n in range(ROWS)],
            "time": pd.to_datetime(np.arange(ROWS), unit="s"),
            "category": pd.Categorical(np.arange(ROWS) % 3),
        },
        index=np.arange(ROWS)[::-1].copy(),
    )
    ref = rayc.put(frame)
    got, again = rayc.get(ref), rayc.get(ref)
    pd.testing.assert_frame_equal(got, frame)
    for column in ("a", "b", "i", "flag"):
        assert is_shared(got[column].to_numpy(), again[column].to_numpy()), column
        assert not got[column].to_numpy().flags.writeable
    assert is_shared(got.index.to_numpy(), again.index.to_numpy())
    with pytest.raises(ValueError):
        got.loc[0, "a"] = 3.0
    series = rayc.get(rayc.put(frame["i"]))
    pd.testing.assert_series_equal(series, frame["i"])
    assert not series.to_numpy().flags.writeable
    copy = rayc.get(ref, copy=True)
    copy.loc[0, "a"] = -1.0
    copy["b"] += 1
    assert copy.loc[0, "a"] == -1.0
    pd.testing.assert_frame_equal(rayc.get(ref), frame)


def test_tensors_are_copied() -> None:
    torch = pytest.importorskip("torch")
    tensor = torch.arange(ROWS, dtype=torch.float32)
    ref = rayc.put(tensor)
    got = rayc.get(ref)
    assert torch.equal(got, tensor)
    got[0] = 5
    assert rayc.get(ref)[0] == 0


# ---- results and arguments of tasks ----


def test_results_and_arguments_are_views() -> None:
    @rayc.remote
    def make() -> dict[str, Any]:
        return {"x": np.arange(ROWS), "f": np.ones((300, 200), order="F")}

    @rayc.remote
    def look(value: dict[str, Any], again: Any) -> tuple[bool, bool, bool]:
        try:
            value["x"][0] = 1
            refused = False
        except ValueError:
            refused = True
        same = address(value["x"]) == address(rayc.get(again[0])["x"])
        return refused, same, value["f"].flags.f_contiguous

    ref = make.remote()
    value = rayc.get(ref)
    assert not value["x"].flags.writeable and not value["f"].flags.writeable
    assert is_shared(value["x"], rayc.get(ref)["x"])
    assert rayc.get(look.remote(ref, [ref])) == (True, True, True)


# ---- pins ----


def is_freed(store: plasma.PlasmaClient, used_before: int) -> bool:
    return wait_until(lambda: store.usage()["used"] <= used_before, FREED_WITHIN_S)


@pytest.mark.parametrize("how", ["put", "returned"])
def test_a_view_pins_its_object_and_frees_it_at_once(store: plasma.PlasmaClient, how: str) -> None:
    @rayc.remote
    def make(size: int) -> Array:
        return np.full(size, 7, dtype=np.uint8)

    rayc.get(make.remote(1))
    used_before = store.usage()["used"]
    size = 10_000_000
    ref = make.remote(size) if how == "returned" else rayc.put(np.full(size, 7, dtype=np.uint8))
    array = rayc.get(ref)
    del ref
    gc.collect()
    piece = array[5000:6000:7].reshape(11, 13)
    view = memoryview(piece[1:])
    del array, piece
    assert not wait_until(lambda: store.usage()["used"] < used_before + size, 0.5)
    assert set(bytes(view)) == {7}
    with pytest.raises(TypeError):
        view[0, 0] = 1
    view.release()
    assert is_freed(store, used_before)


def test_each_kind_of_view_pins(store: plasma.PlasmaClient) -> None:
    used_before = store.usage()["used"]
    kinds: list[Callable[[Array], Any]] = [
        lambda array: array.T,
        lambda array: array.view("u1"),
        lambda array: array.reshape(10, -1)[3],
        lambda array: memoryview(array)[1:],
        lambda array: {"deep": [iter([array])]},
        lambda array: np.lib.stride_tricks.sliding_window_view(array, 10),
        lambda array: np.ma.array(array),
    ]
    for view_of in kinds:
        view = view_of(rayc.get(rayc.put(np.arange(ROWS))))
        gc.collect()
        assert store.usage()["used"] >= used_before + 8 * ROWS
        del view
        assert is_freed(store, used_before)


def test_arrow_views_pin(store: plasma.PlasmaClient) -> None:
    pa = pytest.importorskip("pyarrow")
    rayc.get(rayc.put(pa.table({"n": [1]})))
    used_before = store.usage()["used"]
    column = rayc.get(rayc.put(pa.table({"n": np.arange(ROWS), "m": np.arange(ROWS)})))["n"][5:10]
    gc.collect()
    assert store.usage()["used"] >= used_before + 16 * ROWS
    assert column.to_pylist() == [5, 6, 7, 8, 9]
    del column
    assert is_freed(store, used_before)


def test_one_value_of_several_arrays_is_one_object(store: plasma.PlasmaClient) -> None:
    used_before = store.usage()["used"]
    value = rayc.get(rayc.put([np.full(ROWS, n) for n in range(5)]))
    last = value.pop()
    del value
    assert store.usage()["used"] >= used_before + 5 * 8 * ROWS
    assert (last == 4).all()
    del last
    assert is_freed(store, used_before)


def test_what_is_read_by_others_stays(store: plasma.PlasmaClient) -> None:
    @rayc.remote
    class Holder:
        def hold(self, refs: list[Any]) -> int:
            self.array = rayc.get(refs[0])
            return int(self.array[-1])

        def look(self) -> int:
            return int(self.array.sum())

        def drop(self) -> None:
            del self.array

    holder = Holder.remote()
    used_before = store.usage()["used"]
    ref = rayc.put(np.arange(ROWS))
    assert rayc.get(holder.hold.remote([ref])) == ROWS - 1
    del ref
    assert not wait_until(lambda: store.usage()["used"] <= used_before, 0.5)
    assert rayc.get(holder.look.remote()) == ROWS * (ROWS - 1) // 2
    rayc.get(holder.drop.remote())
    assert is_freed(store, used_before)


# ---- get(copy=True) ----


@pytest.mark.parametrize("size", [10, ROWS])
def test_copies_can_be_written_to(size: int) -> None:
    array = np.arange(size)
    ref = rayc.put({"a": array, "f": np.asfortranarray(np.ones((size, 2))), "b": b"x"})
    copy = rayc.get(ref, copy=True)
    np.testing.assert_array_equal(copy["a"], array)
    assert copy["f"].flags.f_contiguous and address(copy["f"]) % 8 == 0
    copy["a"][:] = -1
    copy["f"] += 1
    other = rayc.get([ref, ref], copy=True)
    for value in (*other, rayc.get(ref)):
        np.testing.assert_array_equal(value["a"], array)
        assert (value["f"] == 1).all()
    assert not np.shares_memory(other[0]["a"], other[1]["a"])
    assert not rayc.get(ref)["a"].flags.writeable


def test_copies_pin_nothing(store: plasma.PlasmaClient) -> None:
    used_before = store.usage()["used"]
    copy = rayc.get(rayc.put(np.arange(ROWS)), copy=True)
    assert is_freed(store, used_before)
    assert (copy == np.arange(ROWS)).all()


def test_copies_keep_what_refers_to_the_same(rayc_session: Any) -> None:
    shared = np.zeros(ROWS)
    inner = rayc.put("inner")
    first, second, ref, number = rayc.get(rayc.put([shared, shared, inner, 5]), copy=True)
    assert first is second and number == 5
    assert rayc.get(ref) == "inner"
    first[0] = 1
    assert second[0] == 1


def test_copies_of_plain_values_and_errors() -> None:
    for value in (None, 5, "text", b"bytes", [1, {"a": (2, 3)}]):
        assert rayc.get(rayc.put(value), copy=True) == value

    @rayc.remote
    def fail() -> None:
        raise KeyError("no")

    with pytest.raises(KeyError):
        rayc.get(fail.remote(), copy=True)
