"""Sessions one after another in one process."""

from __future__ import annotations

import gc
import os
import threading
from collections.abc import Callable
from typing import Any

import pytest
from drivers import open_descriptors

import rayc


@rayc.remote
def one() -> int:
    return 1


@rayc.remote
class Actor:
    def two(self) -> int:
        return 2


def resident_bytes() -> int:
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def test_a_hundred_sessions_leak_nothing(run_driver: Callable[..., str]) -> None:
    # In a process of its own, where nothing else opens files or uses memory.
    out = run_driver(
        """
    import gc, os, threading
    import rayc

    def resident():
        with open("/proc/self/statm") as file:
            return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")

    @rayc.remote
    def one():
        return 1

    def session():
        rayc.init(num_cpus=1)
        rayc.get(one.remote())
        rayc.shutdown()

    for _ in range(10):
        session()
    gc.collect()
    before = len(os.listdir("/proc/self/fd")), threading.active_count(), \\
        len(os.listdir("/proc/self/task"))
    memory = resident()
    for _ in range(100):
        session()
    gc.collect()
    after = len(os.listdir("/proc/self/fd")), threading.active_count(), \\
        len(os.listdir("/proc/self/task"))
    print(before, after, resident() - memory)
    assert after == before
    if "libasan" not in os.environ.get("LD_PRELOAD", ""):  # which keeps what was freed for a while
        assert resident() - memory < 8 * 2**20
    """
    )
    assert out


def test_functions_and_classes_survive_a_new_session() -> None:
    for _ in range(3):
        rayc.init(num_cpus=1)
        actor = Actor.remote()
        assert rayc.get([one.remote(), actor.two.remote()]) == [1, 2]
        rayc.shutdown()


def test_shutdown_is_idempotent() -> None:
    rayc.shutdown()
    rayc.init(num_cpus=1)
    assert rayc.is_initialized()
    rayc.shutdown()
    rayc.shutdown()
    assert not rayc.is_initialized()


def test_auto_init() -> None:
    assert not rayc.is_initialized()
    assert rayc.get(one.remote()) == 1
    assert rayc.is_initialized()
    rayc.shutdown()
    assert rayc.get(rayc.put(3)) == 3


def test_the_context() -> None:
    with rayc.init(num_cpus=2, resources={"special": 3}) as context:
        assert os.path.isdir(context.address_info["session_dir"])
        assert context.address_info["node_id"] == rayc.get_runtime_context().get_node_id()
        with pytest.warns(DeprecationWarning):
            assert context["session_dir"] == context.address_info["session_dir"]
        resources = rayc.cluster_resources()
        assert resources["CPU"] == 2
        assert resources["special"] == 3
        assert resources["object_store_memory"] > 0
        assert resources["node:127.0.0.1"] == 1
        (node,) = rayc.nodes()
        assert node["Alive"]
        assert node["NodeID"] == context.address_info["node_id"]
    assert not rayc.is_initialized()


def test_init_in_a_thread() -> None:
    results: list[Any] = []

    def work() -> None:
        rayc.init(num_cpus=1)
        results.append(rayc.get(one.remote()))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert results == [1]
    # The thread is gone; the session is not.
    assert rayc.get(one.remote()) == 1
    rayc.shutdown()


def test_environment_variables_for_workers() -> None:
    rayc.init(num_cpus=1, runtime_env={"env_vars": {"RAYC_TEST_VARIABLE": "set"}})
    get = rayc.remote(lambda: os.environ.get("RAYC_TEST_VARIABLE"))
    assert rayc.get(get.remote()) == "set"
    assert "RAYC_TEST_VARIABLE" not in os.environ


def test_memory_does_not_grow_with_tasks(rayc_session: Any) -> None:
    def work() -> None:
        for _ in range(10):
            rayc.get([one.remote() for _ in range(500)])
            gc.collect()

    work()
    before, descriptors = resident_bytes(), len(open_descriptors())
    work()
    assert resident_bytes() - before < 8 * 2**20
    assert len(open_descriptors()) <= descriptors
