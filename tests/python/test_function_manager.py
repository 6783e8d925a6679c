"""The function table: what is exported when, and how it is found."""

from __future__ import annotations

import os
import pickle
import sys
from typing import Any

import pytest

import rayc
from rayc._private.function_manager import FunctionExecutionInfo
from rayc._private.worker import global_worker
from rayc._raylet import PythonFunctionDescriptor

pytestmark = pytest.mark.usefixtures("rayc_session")


def table(prefix: str) -> list[bytes]:
    core = global_worker.connected()
    return core.kv_keys(prefix.encode(), "fun")


def test_nothing_is_exported_before_the_first_call() -> None:
    @rayc.remote
    def f() -> int:
        return 1

    @rayc.remote
    class A:
        def f(self) -> int:
            return 1

    assert table("") == []
    rayc.get(f.remote())
    (key,) = table("RemoteFunction:")
    job = rayc.get_runtime_context().get_job_id()
    assert key.decode() == f"RemoteFunction:{job}:{f._descriptor.function_id.hex()}"
    actor = A.remote()
    rayc.get(actor.f.remote())
    (key,) = table("ActorClass:")
    assert key.decode() == f"ActorClass:{job}:{A._descriptor.function_id.hex()}"


def test_a_function_is_exported_once() -> None:
    @rayc.remote
    def f(n: int) -> int:
        if n == 0:
            return 0
        result: int = rayc.get(f.remote(n - 1))
        return result

    rayc.get([f.remote(3), f.options(name="other").remote(1)])
    assert len(table("RemoteFunction:")) == 1


def test_what_is_in_the_table() -> None:
    @rayc.remote(max_calls=3)
    def f() -> int:
        return 5

    rayc.get(f.remote())
    (key,) = table("RemoteFunction:")
    data = global_worker.connected().kv_get(key, "fun")
    assert data is not None
    record = pickle.loads(data)
    assert record["function_name"] == f._descriptor.function_name
    assert record["module"] == __name__
    assert record["max_calls"] == 3
    assert pickle.loads(record["function"])() == 5


def test_globals_are_frozen_at_the_first_call() -> None:
    value = 1

    @rayc.remote
    def read() -> int:
        return value

    assert rayc.get(read.remote()) == 1
    value = 2
    assert rayc.get(read.remote()) == 1


def test_an_executor_finds_what_was_exported() -> None:
    @rayc.remote
    def f() -> int:
        return 7

    rayc.get(f.remote())
    manager = global_worker.function_actor_manager
    job_id = global_worker.connected().job_id
    info = manager.get_execution_info(job_id, f._descriptor)
    assert isinstance(info, FunctionExecutionInfo)
    assert info.function() == 7
    assert info.max_calls == 0
    assert manager.execution_infos[f._descriptor.function_id.binary()] is info
    assert manager.get_execution_info(job_id, f._descriptor) is info


def test_an_actor_class_brings_its_methods() -> None:
    @rayc.remote
    class A:
        def __init__(self, x: int) -> None:
            self.x = x

        def plus(self, y: int) -> int:
            return self.x + y

        @staticmethod
        def fixed() -> int:
            return 3

    actor = A.remote(1)
    rayc.get(actor.plus.remote(1))
    manager = global_worker.function_actor_manager
    job_id = global_worker.connected().job_id
    cls = manager.load_actor_class(job_id, A._descriptor)
    instance = cls(5)
    for name, arguments, result in (
        ("plus", (2,), 7),
        ("fixed", (), 3),
        ("__ray_ready__", (), True),
    ):
        descriptor = PythonFunctionDescriptor(__name__, name, A._descriptor.class_name)
        info = manager.get_execution_info(job_id, descriptor)
        assert info.function(instance, *arguments) == result
        assert info.function_name == f"A.{name}"
    unknown = PythonFunctionDescriptor(__name__, "unknown", A._descriptor.class_name)
    with pytest.raises(RuntimeError, match="unknown"):
        manager.get_execution_info(job_id, unknown)


def test_code_that_cannot_be_loaded_gives_a_stub() -> None:
    manager = global_worker.function_actor_manager
    core = global_worker.connected()
    job = core.job_id
    function = PythonFunctionDescriptor("module", "broken", "", "1")
    record = {"function": b"no pickle", "max_calls": 0}
    key = f"RemoteFunction:{job.hex()}:{function.function_id.hex()}".encode()
    core.kv_put(key, pickle.dumps(record), "fun")
    info = manager.get_execution_info(job, function)
    with pytest.raises(RuntimeError, match=r"broken[\s\S]*UnpicklingError"):
        info.function(1, x=2)
    actor = PythonFunctionDescriptor("module", "__init__", "Broken", "1")
    record = {"class": b"no pickle", "actor_method_names": ["go"]}
    key = f"ActorClass:{job.hex()}:{actor.function_id.hex()}".encode()
    core.kv_put(key, pickle.dumps(record), "fun")
    cls = manager.load_actor_class(job, actor)
    with pytest.raises(RuntimeError, match="Broken"):
        cls(1)


def test_max_calls() -> None:
    @rayc.remote(max_calls=2)
    def pid() -> int:
        return os.getpid()

    pids = [rayc.get(pid.remote()) for _ in range(6)]
    assert max(pids.count(one) for one in pids) <= 2


def test_modules_beside_the_driver_can_be_imported(tmp_path: Any) -> None:
    (tmp_path / "rayc_test_beside.py").write_text("VALUE = 11\n")
    sys.path.append(str(tmp_path))
    try:
        rayc.shutdown()
        rayc.init(num_cpus=1)

        @rayc.remote
        def use() -> int:
            import rayc_test_beside

            return int(rayc_test_beside.VALUE)

        assert rayc.get(use.remote()) == 11
    finally:
        sys.path.remove(str(tmp_path))


def test_code_search_path(tmp_path: Any) -> None:
    (tmp_path / "rayc_test_local.py").write_text(
        "import rayc\n@rayc.remote\ndef f():\n    return __file__\n"
    )
    sys.path.append(str(tmp_path))
    try:
        rayc.shutdown()
        rayc.init(num_cpus=1, job_config=rayc.JobConfig(code_search_path=[str(tmp_path)]))
        import rayc_test_local  # type: ignore[import-not-found]

        assert rayc.get(rayc_test_local.f.remote()) == str(tmp_path / "rayc_test_local.py")
    finally:
        sys.path.remove(str(tmp_path))
        sys.modules.pop("rayc_test_local", None)
