"""Arrays: shared without a copy, and read-only."""

from __future__ import annotations

import gc
from typing import Any

import numpy as np
import pytest

import rayc

pytestmark = pytest.mark.usefixtures("rayc_session")


def address(array: np.ndarray[Any, Any]) -> int:
    return int(array.__array_interface__["data"][0])


@pytest.mark.parametrize("dtype", ["f8", "f4", "i8", "u1", "c16", "?", "S5", "U3", "M8[s]", ">i4"])
@pytest.mark.parametrize("shape", [(), (0,), (3,), (100, 200), (2, 3, 4)])
def test_arrays_come_back_equal(dtype: str, shape: tuple[int, ...]) -> None:
    count = int(np.prod(shape))
    array = np.arange(count).astype("i4").astype(dtype, copy=False).reshape(shape)
    back = rayc.get(rayc.put(array))
    assert type(back) is type(array)
    assert back.dtype == array.dtype
    assert back.shape == array.shape
    assert np.array_equal(back, array)


def test_arrays_of_objects() -> None:
    array = np.array([1, "a", None, [2]], dtype=object)
    assert rayc.get(rayc.put(array)).tolist() == array.tolist()


def test_order_and_strides() -> None:
    base = np.arange(24).reshape(4, 6)
    for array in (np.asfortranarray(base), base[::2, ::3], base.T, base[::-1]):
        assert np.array_equal(rayc.get(rayc.put(array)), array)


def test_two_gets_share_memory() -> None:
    ref = rayc.put(np.arange(1_000_000))
    a, b = rayc.get(ref), rayc.get(ref)
    assert address(a) == address(b)
    assert np.shares_memory(a, b)


def test_arrays_are_aligned() -> None:
    for array in rayc.get(rayc.put([np.arange(n * 1000) for n in range(1, 5)])):
        assert address(array) % 64 == 0


def test_arrays_are_read_only() -> None:
    for size in (10, 1_000_000):
        array = rayc.get(rayc.put(np.zeros(size)))
        assert not array.flags.writeable
        with pytest.raises(ValueError):
            array[0] = 1


def test_arguments_are_read_only_and_results_arrive() -> None:
    @rayc.remote
    def use(array: np.ndarray[Any, Any]) -> tuple[bool, float]:
        return array.flags.writeable, float(array.sum())

    for size in (10, 1_000_000):
        array = np.ones(size)
        assert rayc.get(use.remote(array)) == (False, float(size))
        assert rayc.get(use.remote(rayc.put(array))) == (False, float(size))


def test_a_result_is_shared_too() -> None:
    @rayc.remote
    def make(n: int) -> np.ndarray[Any, Any]:
        return np.arange(n)

    ref = make.remote(500_000)
    a, b = rayc.get(ref), rayc.get(ref)
    assert np.array_equal(a, np.arange(500_000))
    assert address(a) == address(b)


def test_an_array_keeps_its_memory() -> None:
    rayc.shutdown()
    rayc.init(num_cpus=1, object_store_memory=100 * 2**20)
    array = rayc.get(rayc.put(np.full(1_000_000, 7)))
    view = array[10:20]
    del array
    gc.collect()
    for _ in range(30):
        rayc.put(np.zeros(1_500_000))
    assert view.tolist() == [7] * 10


def test_an_array_lives_on_after_shutdown() -> None:
    array = rayc.get(rayc.put(np.full(1_000_000, 3)))
    rayc.shutdown()
    assert int(array.sum()) == 3_000_000
    del array
    gc.collect()


def test_arrays_inside_of_other_values() -> None:
    value = {"a": np.arange(100_000), "b": [np.ones(3), "text"]}
    back = rayc.get(rayc.put(value))
    assert np.array_equal(back["a"], value["a"])
    assert back["b"][1] == "text"
    assert not back["a"].flags.writeable


def test_subclasses_and_structured_arrays() -> None:
    masked = np.ma.array([1, 2, 3], mask=[0, 1, 0])
    back = rayc.get(rayc.put(masked))
    assert isinstance(back, np.ma.MaskedArray)
    assert back.mask.tolist() == [False, True, False]
    structured = np.zeros(5, dtype=[("x", "f4"), ("n", "i8")])
    structured["n"] = range(5)
    assert np.array_equal(rayc.get(rayc.put(structured)), structured)
    scalar = np.float32(1.5)
    assert type(rayc.get(rayc.put(scalar))) is np.float32


def test_numpy_s_random_numbers_differ_between_workers(tmp_path: Any) -> None:
    import os
    import time

    @rayc.remote
    def draw(index: int, folder: str) -> tuple[int, float, float]:
        import random

        open(os.path.join(folder, str(index)), "w").close()
        while len(os.listdir(folder)) < 2:
            time.sleep(0.001)
        return os.getpid(), float(np.random.random()), random.random()

    (pid_a, a, x), (pid_b, b, y) = rayc.get([draw.remote(i, str(tmp_path)) for i in range(2)])
    assert pid_a != pid_b
    assert a != b
    assert x != y
