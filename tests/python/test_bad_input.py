"""Mistakes that programs make: each is answered at once, and the runtime goes on."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from typing import Any

import pytest

import rayc
from rayc.exceptions import RaySystemError, TaskUnschedulableError

pytestmark = pytest.mark.usefixtures("goes_on")


@rayc.remote
def identity(value: Any) -> Any:
    return value


@rayc.remote
class Actor:
    def __init__(self, value: Any = None) -> None:
        self.value = value

    def method(self, value: Any) -> Any:
        return value


@pytest.fixture
def goes_on(rayc_session: Any) -> Iterator[None]:
    """After each test, the runtime must still work."""
    yield
    if rayc.is_initialized():
        assert rayc.get(identity.remote(1)) == 1


def test_direct_calls() -> None:
    with pytest.raises(TypeError, match=r"identity\.remote"):
        identity(1)
    with pytest.raises(TypeError, match=r"Actor\.remote"):
        Actor()
    actor = Actor.remote()
    with pytest.raises(TypeError, match=r"method\.remote"):
        actor.method(1)


def test_wrong_arguments() -> None:
    actor = Actor.remote()
    for call in (identity.remote, actor.method.remote):
        with pytest.raises(TypeError, match="missing 1 required positional argument: 'value'"):
            call()
        with pytest.raises(TypeError, match="1 positional argument but 2 were given"):
            call(1, 2)
        with pytest.raises(TypeError, match="unexpected keyword argument 'other'"):
            call(1, other=2)
        with pytest.raises(TypeError, match="multiple values for argument 'value'"):
            call(1, value=2)
    with pytest.raises(TypeError):
        Actor.remote(1, 2)
    with pytest.raises(TypeError):
        Actor.remote(other=1)


def test_what_remote_is_applied_to() -> None:
    with pytest.raises(AssertionError):
        rayc.remote()
    with pytest.raises(AssertionError):
        rayc.remote(5)  # type: ignore[call-overload]
    with pytest.raises(AssertionError):
        rayc.remote(2, num_cpus=1)  # type: ignore[call-overload]
    with pytest.raises(TypeError):
        rayc.remote(num_cpus=1)(5)
    with pytest.raises(TypeError):
        rayc.remote(identity)

    async def coroutine() -> None:
        pass

    with pytest.raises(ValueError, match="async"):
        rayc.remote(coroutine)


def test_inheriting_from_an_actor_class() -> None:
    with pytest.raises(rayc.actor.ActorClassInheritanceException) as caught:

        class Child(Actor):  # type: ignore[misc, valid-type]
            pass

    assert isinstance(caught.value, TypeError)


def test_get_of_something_else() -> None:
    ref = rayc.put(1)
    for bad in (5, "x", None, (ref,), {ref}, {"a": ref}):
        with pytest.raises(ValueError, match="reference"):
            rayc.get(bad)  # type: ignore[call-overload]
    for bad in ([5], [ref, None], [[ref]]):
        with pytest.raises(TypeError, match="reference"):
            rayc.get(bad)  # type: ignore[call-overload]
    with pytest.raises(ValueError):
        rayc.get(ref, timeout=-2)
    with pytest.raises(TypeError):
        rayc.get(ref, timeout="1")  # type: ignore[call-overload]


def test_put_of_a_reference() -> None:
    with pytest.raises(TypeError, match="reference"):
        rayc.put(rayc.put(1))


def test_put_with_an_owner() -> None:
    with pytest.raises(ValueError):
        rayc.put(1, _owner="someone")  # type: ignore[arg-type]


def test_wait_for_something_else() -> None:
    a, b = rayc.put(1), rayc.put(2)
    with pytest.raises(TypeError, match="list"):
        rayc.wait(a)  # type: ignore[arg-type]
    with pytest.raises(TypeError):
        rayc.wait((a, b))  # type: ignore[arg-type]
    with pytest.raises(TypeError):
        rayc.wait([a, 5])  # type: ignore[list-item]
    with pytest.raises(ValueError, match="twice"):
        rayc.wait([a, a])
    for num_returns in (0, -1, 3):
        with pytest.raises(ValueError, match="num_returns"):
            rayc.wait([a, b], num_returns=num_returns)
    with pytest.raises(ValueError):
        rayc.wait([a], timeout=-1)
    with pytest.raises(TypeError):
        rayc.wait([a], num_returns=1.0)  # type: ignore[arg-type]


def test_arguments_that_cannot_be_pickled() -> None:
    class Config:
        def __init__(self) -> None:
            self.inner = {"lock": threading.Lock()}

    for call in (lambda: identity.remote(Config()), lambda: rayc.put(Config())):
        with pytest.raises(TypeError, match=r"inner\['lock'\]"):
            call()
    actor = Actor.remote()
    with pytest.raises(TypeError, match=r"inner\['lock'\]"):
        actor.method.remote(Config())


def test_functions_that_cannot_be_pickled() -> None:
    lock = threading.Lock()

    @rayc.remote
    def use() -> Any:
        return lock

    with pytest.raises(TypeError, match=r"use.*lock"):
        use.remote()


def test_results_that_cannot_be_pickled() -> None:
    @rayc.remote
    def make() -> Any:
        return threading.Lock()

    with pytest.raises(TypeError, match="lock"):
        rayc.get(make.remote())


def test_functions_that_are_too_large(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAYC_FUNCTION_SIZE_ERROR_THRESHOLD", "1")
    data = os.urandom(2_000_000)

    @rayc.remote
    def use() -> int:
        return len(data)

    with pytest.raises(ValueError, match="too large"):
        use.remote()


def test_resources_that_no_node_has() -> None:
    for options in ({"num_cpus": 100}, {"num_gpus": 8}, {"resources": {"unknown": 1}}):
        ref = identity.options(**options).remote(1)  # type: ignore[arg-type]
        with pytest.raises(TaskUnschedulableError) as caught:
            rayc.get(ref, timeout=30)
        assert any(word in str(caught.value) for word in ("CPU", "GPU", "unknown"))
    actor = Actor.options(num_cpus=100).remote()
    with pytest.raises(rayc.exceptions.ActorUnschedulableError):
        rayc.get(actor.method.remote(1), timeout=30)


def test_init_twice() -> None:
    with pytest.raises(RuntimeError, match="twice"):
        rayc.init()
    context = rayc.init(ignore_reinit_error=True)
    assert context.address_info["session_dir"]


def test_bad_arguments_of_init() -> None:
    rayc.shutdown()
    cases: list[tuple[dict[str, Any], type[BaseException]]] = [
        ({"unknown": 1}, RuntimeError),
        ({"allow_multiple": True}, RuntimeError),
        ({"num_cpus": -1}, ValueError),
        ({"num_cpus": "2"}, TypeError),
        ({"num_cpus": 1.5}, ValueError),
        ({"resources": {"x": 0.5}}, ValueError),
        ({"resources": {"x": -1}}, ValueError),
        ({"resources": {"x": 1e15}}, ValueError),
        ({"resources": {"CPU": 1}}, AssertionError),
        ({"resources": {"node:__internal_head__": 1}}, ValueError),
        ({"resources": [1]}, TypeError),
        ({"object_store_memory": 1000}, ValueError),
        ({"namespace": ""}, ValueError),
        ({"namespace": 1}, TypeError),
        ({"address": "auto"}, ConnectionError),
        ({"address": "nonsense"}, ValueError),
        ({"address": "host:notaport"}, ValueError),
        ({"address": "10.0.0.1:6379"}, NotImplementedError),
        ({"address": "ray://10.0.0.1:10001"}, NotImplementedError),
        ({"_system_config": 1}, TypeError),
        ({"_temp_dir": "relative"}, ValueError),
        ({"_temp_dir": "/tmp/" + "x" * 100}, ValueError),
        ({"logging_level": "loud"}, ValueError),
        ({"job_config": 1}, TypeError),
        ({"runtime_env": {"env_vars": {"A": 1}}}, TypeError),
        ({"cpu_isolation": "some"}, ValueError),
    ]
    for arguments, error in cases:
        with pytest.raises(error):
            rayc.init(**arguments)
        assert not rayc.is_initialized(), arguments


def test_more_gpus_than_visible(monkeypatch: pytest.MonkeyPatch) -> None:
    rayc.shutdown()
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,1")
    with pytest.raises(ValueError, match="CUDA_VISIBLE_DEVICES"):
        rayc.init(num_gpus=3)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_session_folder_that_cannot_be_written(tmp_path: Any) -> None:
    rayc.shutdown()
    tmp_path.chmod(0o500)
    with pytest.raises(PermissionError) as caught:
        rayc.init(_temp_dir=str(tmp_path))
    assert str(tmp_path) in str(caught.value)


def test_a_root_folder_that_is_somebody_else_s() -> None:
    import tempfile

    rayc.shutdown()
    folder = tempfile.mkdtemp(dir="/tmp")
    root = os.path.join(folder, f"rayc-{os.getuid()}")
    try:
        with open(root, "w"):
            pass
        with pytest.raises(OSError) as caught:
            rayc.init(_temp_dir=folder)
        assert root in str(caught.value)
    finally:
        os.unlink(root)
        os.rmdir(folder)


def test_before_init() -> None:
    rayc.shutdown()
    for call in (rayc.nodes, rayc.cluster_resources, rayc.available_resources):
        with pytest.raises(RaySystemError):
            call()
    assert not rayc.is_initialized()


def test_no_auto_init(monkeypatch: pytest.MonkeyPatch) -> None:
    rayc.shutdown()
    monkeypatch.setenv("RAYC_ENABLE_AUTO_CONNECT", "0")
    for call in (lambda: rayc.put(1), lambda: identity.remote(1), lambda: rayc.get_actor("x")):
        with pytest.raises(RaySystemError, match="init"):
            call()
    assert not rayc.is_initialized()


def test_a_fork_of_the_driver() -> None:
    ref = rayc.put(1)
    actor = Actor.remote()
    read_end, write_end = os.pipe()
    pid = os.fork()
    if pid == 0:
        said = []
        for call in (
            lambda: identity.remote(1),
            lambda: rayc.get(ref),
            lambda: rayc.put(1),
            lambda: rayc.wait([ref]),
            lambda: actor.method.remote(1),
            lambda: Actor.remote(),
            rayc.init,
            rayc.nodes,
        ):
            try:
                call()
                said.append("nothing")
            except RuntimeError as error:
                said.append(str(error))
            except BaseException as error:
                said.append(f"{type(error)}: {error}")
        os.write(write_end, "\n".join(said).encode())
        os._exit(0)
    os.close(write_end)
    with os.fdopen(read_end) as file:
        said = file.read().splitlines()
    assert os.waitpid(pid, 0)[1] == 0
    assert len(said) == 8
    for text in said:
        assert f"process {os.getpid()}" in text


def test_kill_and_cancel_of_something_else() -> None:
    with pytest.raises(ValueError, match="actor"):
        rayc.kill(5)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="reference"):
        rayc.cancel(5)  # type: ignore[arg-type]
