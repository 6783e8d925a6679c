"""A store that is full: spilling, restoring, waiting, and the errors when nothing helps."""

from __future__ import annotations

import os
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from drivers import wait_until

import rayc
from rayc import plasma

STORE_BYTES = 80 << 20
MIB = 1 << 20


@pytest.fixture
def small_store(tmp_path: Path) -> Any:
    return rayc.init(
        num_cpus=2, object_store_memory=STORE_BYTES, object_spilling_directory=str(tmp_path)
    )


def store_client(context: Any) -> plasma.PlasmaClient:
    return plasma.connect(context.address_info["object_store_address"])


def array(seed: int, mib: int = 10) -> np.ndarray[Any, Any]:
    return np.random.default_rng(seed).integers(0, 255, mib * MIB, dtype=np.uint8)


def spilled_bytes(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def test_more_than_the_store_holds_comes_back_unchanged(small_store: Any, tmp_path: Path) -> None:
    refs = [rayc.put(array(seed)) for seed in range(20)]  # 200 MiB into 80
    assert spilled_bytes(tmp_path) > 100 * MIB
    for seed, ref in enumerate(refs):
        assert np.array_equal(rayc.get(ref), array(seed))
    for seed in (3, 19, 0):  # again, and in any order
        assert np.array_equal(rayc.get(refs[seed]), array(seed))


def test_spilled_files_go_with_their_objects(small_store: Any, tmp_path: Path) -> None:
    refs = [rayc.put(array(seed)) for seed in range(20)]
    assert spilled_bytes(tmp_path) > 0
    del refs
    assert wait_until(lambda: spilled_bytes(tmp_path) == 0, 20)


def test_spilled_files_go_with_the_session(small_store: Any, tmp_path: Path) -> None:
    refs = [rayc.put(array(seed)) for seed in range(20)]
    assert len(refs) == 20
    rayc.shutdown()
    assert list(tmp_path.iterdir()) == []


def test_several_folders_share_what_is_spilled(tmp_path: Path) -> None:
    folders = [tmp_path / "a", tmp_path / "b"]
    rayc.init(
        num_cpus=1,
        object_store_memory=STORE_BYTES,
        object_spilling_directory=[str(folder) for folder in folders],
    )
    refs = [rayc.put(array(seed)) for seed in range(40)]
    assert len(refs) == 40
    assert all(spilled_bytes(folder) > 0 for folder in folders)


def test_results_and_arguments_of_tasks_are_spilled_and_restored(small_store: Any) -> None:
    @rayc.remote
    def make(seed: int) -> np.ndarray[Any, Any]:
        return array(seed)

    @rayc.remote
    def total(values: np.ndarray[Any, Any]) -> int:
        return int(values.sum(dtype=np.int64))

    refs = [make.remote(seed) for seed in range(20)]
    totals = rayc.get([total.remote(ref) for ref in refs])
    assert totals == [int(array(seed).sum(dtype=np.int64)) for seed in range(20)]


def test_what_is_viewed_is_not_spilled(small_store: Any) -> None:
    viewed_ref = rayc.put(array(1))
    view = rayc.get(viewed_ref)
    before = view.copy()
    refs = [rayc.put(array(seed)) for seed in range(2, 20)]
    assert len(refs) == 18
    assert np.array_equal(view, before)


def test_a_store_full_of_views_is_an_error_that_names_them(small_store: Any) -> None:
    views = [rayc.get(rayc.put(array(seed))) for seed in range(7)]  # 70 of 80 MiB
    with pytest.raises(rayc.exceptions.ObjectStoreFullError) as caught:
        rayc.put(array(8, mib=20))
    text = str(caught.value)
    assert "10.0 MiB" in text
    assert f"pinned by process {os.getpid()}" in text
    assert len(views) == 7
    del views
    assert np.array_equal(rayc.get(rayc.put(array(9, mib=20))), array(9, mib=20))


def test_a_writer_waits_until_a_view_goes(small_store: Any) -> None:
    views = [rayc.get(rayc.put(array(seed))) for seed in range(7)]

    def let_go() -> None:
        time.sleep(0.5)
        views.clear()

    thread = threading.Thread(target=let_go)
    thread.start()
    ref = rayc.put(array(8, mib=40))
    thread.join()
    assert np.array_equal(rayc.get(ref), array(8, mib=40))


def test_an_object_as_large_as_the_store_takes_it_all(small_store: Any) -> None:
    small = [rayc.put(array(seed, mib=1)) for seed in range(20)]
    whole = np.full(STORE_BYTES - MIB, 7, dtype=np.uint8)
    assert rayc.get(rayc.put(whole)).sum(dtype=np.int64) == whole.sum(dtype=np.int64)
    for seed, ref in enumerate(small):
        assert np.array_equal(rayc.get(ref), array(seed, mib=1))


def test_a_full_disk_is_an_error_and_loses_nothing(small_disk: str) -> None:
    rayc.init(num_cpus=1, object_store_memory=STORE_BYTES, object_spilling_directory=small_disk)
    refs: list[Any] = []
    with pytest.raises(rayc.exceptions.OutOfDiskError, match=small_disk):
        for seed in range(20):
            refs.append(rayc.put(array(seed)))
    assert len(refs) >= 6
    for seed, ref in enumerate(refs):
        assert np.array_equal(rayc.get(ref), array(seed))


def test_memory_is_free_at_once_when_references_and_views_go(small_store: Any) -> None:
    def put_and_view() -> None:
        ref = rayc.put(array(1, mib=40))
        view = rayc.get(ref)
        del ref
        assert view[0] == array(1, mib=40)[0]

    for _ in range(10):  # 400 MiB through 80, without a look at the disk
        put_and_view()
    with store_client(small_store) as client:
        assert wait_until(lambda: client.list() == {}, 10)


def test_folders_that_cannot_be_spilled_to() -> None:
    with pytest.raises(ValueError, match="object_spilling_directory"):
        rayc.init(num_cpus=1, object_spilling_directory="/proc/nowhere")
    with pytest.raises(TypeError, match="object_spilling_directory"):
        rayc.init(num_cpus=1, object_spilling_directory=3)
