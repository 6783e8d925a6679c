"""What code can learn about where it runs."""

from __future__ import annotations

from typing import Any

import pytest

import rayc

pytestmark = pytest.mark.usefixtures("rayc_session")


@rayc.remote
def read(*names: str) -> list[Any]:
    context = rayc.get_runtime_context()
    return [getattr(context, name)() for name in names]


@rayc.remote
class Reader:
    def read(self, *names: str) -> list[Any]:
        context = rayc.get_runtime_context()
        return [getattr(context, name)() for name in names]


def test_on_a_driver() -> None:
    context = rayc.get_runtime_context()
    assert len(context.get_job_id()) == 8
    assert len(context.get_node_id()) == len(context.get_worker_id()) == 56
    assert context.get_session_name().startswith("session_")
    assert context.get_actor_id() is None
    assert context.get_task_id() is None
    assert context.get_task_name() is None
    assert rayc.get_gpu_ids() == []
    with pytest.raises(AssertionError):
        context.get_assigned_resources()
    with pytest.raises(RuntimeError):
        context.current_actor  # noqa: B018


def test_in_a_task() -> None:
    context = rayc.get_runtime_context()
    job, node, worker, task, actor = rayc.get(
        read.remote("get_job_id", "get_node_id", "get_worker_id", "get_task_id", "get_actor_id")
    )
    assert job == context.get_job_id()
    assert node == context.get_node_id()
    assert worker != context.get_worker_id()
    assert len(task) == 48
    assert actor is None


def test_names() -> None:
    names = ("get_task_name", "get_task_function_name")
    assert rayc.get(read.remote(*names)) == ["read", f"{__name__}.read"]
    assert rayc.get(read.options(name="other").remote(*names)) == ["other", f"{__name__}.read"]
    reader = Reader.remote()
    assert rayc.get(reader.read.remote(*names)) == ["Reader.read", f"{__name__}.Reader.read"]


def test_name_of_the_actor() -> None:
    assert rayc.get_runtime_context().get_actor_name() is None
    assert rayc.get(read.remote("get_actor_name")) == [None]
    unnamed, named = Reader.remote(), Reader.options(name="reader").remote()
    assert rayc.get(unnamed.read.remote("get_actor_name")) == [""]
    assert rayc.get(named.read.remote("get_actor_name")) == ["reader"]


def test_assigned_resources() -> None:
    assert rayc.get(read.remote("get_assigned_resources")) == [{"CPU": 1.0}]
    assert rayc.get(read.options(num_cpus=0.5).remote("get_assigned_resources")) == [{"CPU": 0.5}]
    reader = Reader.remote()
    assert rayc.get(reader.read.remote("get_assigned_resources")) == [{}]
    holder = Reader.options(num_cpus=1).remote()
    assert rayc.get(holder.read.remote("get_assigned_resources")) == [{"CPU": 1.0}]


def test_threads_follow_num_cpus() -> None:
    import os

    @rayc.remote
    def threads() -> str | None:
        return os.environ.get("OMP_NUM_THREADS")

    if "OMP_NUM_THREADS" in os.environ:
        pytest.skip("the user's own setting goes first")
    assert rayc.get(threads.remote()) == "1"
    assert rayc.get(threads.options(num_cpus=2).remote()) == "2"


def test_gpus() -> None:
    rayc.shutdown()
    rayc.init(num_cpus=2, num_gpus=2)

    @rayc.remote(num_gpus=1, max_calls=0)
    def gpu() -> tuple[Any, Any]:
        import os

        return rayc.get_gpu_ids(), os.environ.get("CUDA_VISIBLE_DEVICES")

    ids, visible = rayc.get(gpu.remote())
    assert ids in ([0], [1])
    assert visible == str(ids[0])
    ids, visible = rayc.get(gpu.options(num_gpus=2).remote())
    assert sorted(ids) == [0, 1]

    @rayc.remote
    def no_gpu() -> tuple[Any, Any]:
        import os

        return rayc.get_gpu_ids(), os.environ.get("CUDA_VISIBLE_DEVICES")

    assert rayc.get(no_gpu.remote()) == ([], None)


def test_resources_of_the_cluster() -> None:
    from drivers import wait_until

    holder = Reader.options(num_cpus=2).remote()
    rayc.get(holder.read.remote())
    assert rayc.cluster_resources()["CPU"] == 2
    assert wait_until(lambda: "CPU" not in rayc.available_resources())
    rayc.kill(holder)
    assert wait_until(lambda: rayc.available_resources().get("CPU") == 2)
