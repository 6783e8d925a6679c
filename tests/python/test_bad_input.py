"""Mistakes that programs make: each is answered at once, and the runtime goes on."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
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


def test_too_many_arguments() -> None:
    @rayc.remote
    def count(*values: int) -> int:
        return len(values)

    @rayc.remote
    class Counts:
        def count(self, *values: int) -> int:
            return len(values)

    counts = Counts.remote()
    for call in (count.remote, counts.count.remote):
        assert rayc.get(call(*range(100_000))) == 100_000
        with pytest.raises(ValueError, match="at most 500000 arguments, and has 500001"):
            call(*range(500_001))
        assert rayc.get(call(1)) == 1


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
        ({"address": "/no/such/session"}, ConnectionError),
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


# Options ---------------------------------------------------------------------------------


def test_unknown_options() -> None:
    for make in (
        lambda: rayc.remote(num_cpu=1)(len),
        lambda: identity.options(num_cpu=1),
        lambda: Actor.options(max_restart=1),
        lambda: Actor.remote().method.options(num_cpus=1),
        lambda: identity.options(lifetime="detached"),
        lambda: Actor.options(max_retries=1),
    ):
        with pytest.raises(ValueError, match="is no option of"):
            make()


@pytest.mark.parametrize("kind", [identity, Actor], ids=["task", "actor"])
def test_amounts_that_are_none(kind: Any) -> None:
    for amount in (-1, float("inf"), float("nan"), -0.5, 1e-9):
        for options in (
            {"num_cpus": amount},
            {"num_gpus": amount},
            {"memory": amount},
            {"resources": {"x": amount}},
        ):
            with pytest.raises(ValueError) as caught:
                kind.options(**options)
            assert repr(amount) in str(caught.value) or "finite" in str(caught.value)
    for amount in ("2", [1], True):
        for options in ({"num_cpus": amount}, {"resources": {"x": amount}}):
            with pytest.raises(TypeError):
                kind.options(**options)


# What fails in tasks and actors ----------------------------------------------------------


class NeedsTwo(Exception):
    """Its constructor takes other arguments than `args` has."""

    def __init__(self, code: int, text: str) -> None:
        super().__init__(f"{code}: {text}")
        self.code = code


def test_an_exception_in_a_task_a_dependency_a_constructor_a_method() -> None:
    @rayc.remote
    def fail(kind: type[Exception], *args: Any) -> None:
        raise kind(*args)

    @rayc.remote
    class Fails:
        def __init__(self, in_constructor: bool) -> None:
            if in_constructor:
                raise LookupError("in the constructor")

        def method(self) -> None:
            raise ZeroDivisionError("in the method")

        def fine(self, value: Any) -> Any:
            return value

    with pytest.raises(KeyError, match="in the task"):
        rayc.get(fail.remote(KeyError, "in the task"))
    failed = fail.remote(KeyError, "far away")
    for ref in (identity.remote(failed), identity.remote(identity.remote(failed))):
        with pytest.raises(KeyError, match="far away"):
            rayc.get(ref)
    actor = Fails.remote(False)
    with pytest.raises(ZeroDivisionError, match="in the method"):
        rayc.get(actor.method.remote())
    with pytest.raises(KeyError, match="far away"):
        rayc.get(actor.fine.remote(failed))
    assert rayc.get(actor.fine.remote(1)) == 1
    for argument in (True, failed):
        unborn = Fails.remote(argument)
        with pytest.raises(rayc.exceptions.ActorDiedError) as caught:
            rayc.get(unborn.fine.remote(1))
        assert "in the constructor" in str(caught.value) or "far away" in str(caught.value)
        assert caught.value.actor_init_failed


def test_an_exception_whose_constructor_takes_other_arguments() -> None:
    @rayc.remote
    def fail() -> None:
        raise NeedsTwo(5, "five")

    with pytest.raises(NeedsTwo, match="5: five") as caught:
        rayc.get(fail.remote())
    assert isinstance(caught.value, rayc.exceptions.RayTaskError)
    assert caught.value.code == 5


def test_an_exception_that_cannot_be_pickled() -> None:
    @rayc.remote
    def fail() -> None:
        class Holds(Exception):
            def __init__(self) -> None:
                super().__init__("holds a lock")
                self.lock = threading.Lock()

        raise Holds()

    with pytest.raises(rayc.exceptions.RayError, match="holds a lock"):
        rayc.get(fail.remote())


@pytest.mark.skipif(sys.version_info < (3, 11), reason="there are no exception groups")
def test_an_exception_group() -> None:
    import builtins

    @rayc.remote
    def fail() -> None:
        raise builtins.ExceptionGroup("several", [ValueError("one"), NeedsTwo(2, "two")])

    with pytest.raises(builtins.ExceptionGroup, match="several") as caught:
        rayc.get(fail.remote())
    assert [type(one).__name__ for one in caught.value.exceptions] == ["ValueError", "NeedsTwo"]


def test_get_past_its_timeout() -> None:
    @rayc.remote
    def slow() -> None:
        time.sleep(60)

    begin = time.monotonic()
    ref = slow.options(num_cpus=0).remote()
    with pytest.raises(rayc.exceptions.GetTimeoutError, match=r"0\.1 s"):
        rayc.get(ref, timeout=0.1)
    assert time.monotonic() - begin < 5
    with pytest.raises(TimeoutError):
        rayc.get([rayc.put(1), ref], timeout=0)


def segfault() -> None:
    if "libasan" in os.environ.get("LD_PRELOAD", ""):
        signal.signal(signal.SIGSEGV, signal.SIG_DFL)  # AddressSanitizer would make a report of it
    os.kill(os.getpid(), signal.SIGSEGV)


@pytest.mark.parametrize(
    ("end", "words"),
    [
        (lambda: os.kill(os.getpid(), signal.SIGKILL), ("SIGKILL", "signal 9")),
        (segfault, ("SIGSEGV", "signal 11")),
        (os.abort, ("SIGABRT", "signal 6")),
        (lambda: os._exit(17), ("17",)),
        (lambda: sys.exit(3), ("3",)),
    ],
    ids=["sigkill", "sigsegv", "abort", "_exit", "sys.exit"],
)
def test_a_worker_that_ends_in_the_middle(end: Any, words: tuple[str, ...]) -> None:
    @rayc.remote(max_retries=0)
    def die() -> None:
        print("these were", "its last words", file=sys.stderr, flush=True)
        end()

    with pytest.raises(rayc.exceptions.WorkerCrashedError) as caught:
        rayc.get(die.remote(), timeout=30)
    text = str(caught.value)
    assert all(word in text for word in words), text
    if end is not sys.exit and "sys.exit" not in text:
        assert "these were its last words" in text


def test_an_actor_that_dies() -> None:
    @rayc.remote
    class Mortal:
        def die(self) -> None:
            print("a last sigh", file=sys.stderr, flush=True)
            os.kill(os.getpid(), signal.SIGKILL)

        def live(self) -> int:
            return 1

    actor = Mortal.remote()
    with pytest.raises(rayc.exceptions.ActorDiedError) as caught:
        rayc.get(actor.die.remote(), timeout=30)
    assert "SIGKILL" in str(caught.value)
    assert "a last sigh" in str(caught.value)
    with pytest.raises(rayc.exceptions.ActorDiedError, match="SIGKILL"):
        rayc.get(actor.live.remote(), timeout=30)


# Names, sessions -------------------------------------------------------------------------


def test_names_of_actors() -> None:
    for name in ("nobody", ""):
        with pytest.raises(ValueError):
            rayc.get_actor(name)
    with pytest.raises(ValueError, match="'nobody'"):
        rayc.get_actor("nobody")
    with pytest.raises(TypeError):
        rayc.get_actor("nobody", namespace=5)  # type: ignore[arg-type]
    first = Actor.options(name="one").remote()
    with pytest.raises(rayc.exceptions.ActorAlreadyExistsError, match="one"):
        Actor.options(name="one").remote()
    assert rayc.get(first.method.remote(2)) == 2


def test_what_was_kept_from_an_earlier_session() -> None:
    ref, actor = rayc.put(1), Actor.remote()
    assert rayc.get(actor.method.remote(1)) == 1
    before = rayc.get_runtime_context().get_session_name()
    rayc.shutdown()
    for call in (lambda: rayc.get(ref), lambda: actor.method.remote(1)):
        with pytest.raises(ValueError, match=before):
            call()
    assert not rayc.is_initialized()
    rayc.init(num_cpus=1)
    now = rayc.get_runtime_context().get_session_name()
    for call in (
        lambda: rayc.get(ref),
        lambda: rayc.get([ref]),
        lambda: rayc.wait([ref]),
        lambda: identity.remote(ref),
        lambda: identity.remote([ref]),
        lambda: rayc.put([ref]),
        lambda: rayc.cancel(ref),
        lambda: rayc.kill(actor),
        lambda: actor.method.remote(1),
        lambda: identity.remote(actor),
    ):
        with pytest.raises(ValueError) as caught:
            call()
        assert before in str(caught.value) and now in str(caught.value), str(caught.value)


# Memory and disk -------------------------------------------------------------------------


def test_an_object_larger_than_the_store() -> None:
    rayc.shutdown()
    rayc.init(num_cpus=1, object_store_memory=100 << 20)
    size = 300 << 20

    @rayc.remote
    def make() -> bytes:
        return bytes(size)

    data = bytes(size)
    for call in (
        lambda: rayc.put(data),
        lambda: identity.remote(data),
        lambda: rayc.get(make.remote(), timeout=60),
    ):
        begin = time.monotonic()
        with pytest.raises(rayc.exceptions.ObjectStoreFullError) as caught:
            call()
        assert time.monotonic() - begin < 5
        text = str(caught.value)
        assert "300" in text or str(size) in text.replace(",", "")
        assert "100" in text or str(100 << 20) in text.replace(",", "")


def fill(folder: str) -> None:
    """Leave no byte free."""
    for block in (1 << 16, 1 << 12, 1):
        with open(os.path.join(folder, "filler"), "ab", buffering=0) as file:
            try:
                while file.write(bytes(block)) == block:
                    pass
            except OSError as error:
                assert error.errno == errno.ENOSPC


def test_a_full_disk_at_init(small_disk: str) -> None:
    rayc.shutdown()
    fill(small_disk)
    with pytest.raises(rayc.exceptions.OutOfDiskError) as caught:
        rayc.init(num_cpus=1, _temp_dir=small_disk)
    assert small_disk in str(caught.value)
    assert not rayc.is_initialized()
    os.unlink(os.path.join(small_disk, "filler"))
    rayc.init(num_cpus=1, _temp_dir=small_disk)
    assert os.listdir(os.path.join(small_disk, f"rayc-{os.getuid()}"))


def test_a_disk_that_fills_up(small_disk: str, tmp_path: Any) -> None:
    rayc.shutdown()
    (tmp_path / "data").write_bytes(os.urandom(2 << 20))
    rayc.init(num_cpus=2, _temp_dir=small_disk)
    fill(small_disk)

    @rayc.remote(max_retries=0)
    def noisy(end: bool) -> int:
        print("x" * 1000)
        print("y" * 1000, file=sys.stderr, flush=True)
        if end:
            os._exit(1)
        return 1

    # Logs cannot be written, and that is all.
    assert rayc.get([noisy.remote(False) for _ in range(20)]) == [1] * 20
    with pytest.raises(rayc.exceptions.WorkerCrashedError, match="yyy"):
        rayc.get(noisy.remote(True), timeout=30)
    actor = Actor.remote()
    assert rayc.get(actor.method.remote(bytes(1_000_000)), timeout=30) == bytes(1_000_000)
    assert rayc.get(rayc.put(bytes(2_000_000))) == bytes(2_000_000)


def test_a_working_dir_for_which_the_disk_is_too_small(small_disk: str, tmp_path: Any) -> None:
    rayc.shutdown()
    (tmp_path / "data").write_bytes(os.urandom(2 << 20))
    rayc.init(num_cpus=1, _temp_dir=small_disk, runtime_env={"working_dir": str(tmp_path)})
    with pytest.raises(rayc.exceptions.RuntimeEnvSetupError, match="disk is full"):
        rayc.get(identity.remote(1), timeout=30)
    rayc.shutdown()


def test_a_read_only_disk(small_disk: str) -> None:
    rayc.shutdown()
    subprocess.run(["mount", "-o", "remount,ro", small_disk], check=True)
    with pytest.raises(PermissionError) as caught:
        rayc.init(num_cpus=1, _temp_dir=small_disk)
    assert small_disk in str(caught.value)
    assert not rayc.is_initialized()
