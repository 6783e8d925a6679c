"""What a program sees when the code of a task raises, or its process dies."""

from __future__ import annotations

import builtins
import os
import pickle
import signal
import sys
from typing import Any

import pytest

import rayc
from rayc.exceptions import (
    RayError,
    RayTaskError,
    UnserializableException,
    WorkerCrashedError,
)

pytestmark = pytest.mark.usefixtures("rayc_session")


class Plain(Exception):
    pass


class OtherConstructor(Exception):
    """Its constructor takes other arguments than its args say."""

    def __init__(self, code: int, text: str) -> None:
        super().__init__(f"{code}: {text}")
        self.code = code

    @property
    def doubled(self) -> int:
        return 2 * self.code


@rayc.remote
def throw(error: BaseException) -> None:
    raise error


def raising(error: BaseException) -> pytest.ExceptionInfo[BaseException]:
    with pytest.raises(type(error)) as caught:
        rayc.get(throw.remote(error))
    return caught


@pytest.mark.parametrize(
    "error",
    [ValueError("v"), Plain("p", 1), KeyError("k"), ZeroDivisionError(), StopIteration(3)],
    ids=repr,
)
def test_an_error_has_the_class_that_was_raised(error: Exception) -> None:
    caught = raising(error).value
    assert isinstance(caught, RayTaskError)
    assert isinstance(caught.cause, type(error))
    assert caught.cause.args == error.args
    assert caught.args == (caught.cause,)
    assert type(caught).__name__ == f"RayTaskError({type(error).__name__})"


def test_its_text_is_the_traceback_of_the_worker() -> None:
    @rayc.remote
    def inner_function() -> None:
        def deeper() -> None:
            raise ValueError("the text")

        deeper()

    with pytest.raises(ValueError) as caught:
        rayc.get(inner_function.remote())
    text = str(caught.value)
    assert "inner_function" in text
    assert "deeper" in text
    assert "ValueError: the text" in text
    assert "test_errors.py" in text
    assert "pid=" in text
    # The library's own frames are left out.
    assert os.path.dirname(rayc.__file__) + os.sep not in text
    assert ".pyx" not in text


@rayc.remote
def throw_other() -> None:
    raise OtherConstructor(7, "seven")


def test_attributes_of_the_cause_are_there() -> None:
    with pytest.raises(OtherConstructor) as info:
        rayc.get(throw_other.remote())
    caught: Any = info.value
    assert caught.code == 7
    assert caught.doubled == 14
    assert caught.cause.args == ("7: seven",)
    error: Any = raising(FileNotFoundError(2, "No such file", "name")).value
    assert (error.errno, error.strerror, error.filename) == (2, "No such file", "name")


def test_errors_can_be_pickled_again() -> None:
    with pytest.raises(OtherConstructor) as info:
        rayc.get(throw_other.remote())
    caught = info.value
    again: Any = pickle.loads(pickle.dumps(caught))
    assert isinstance(again, OtherConstructor)
    assert isinstance(again, RayTaskError)
    assert again.code == 7
    assert str(again) == str(caught)


def test_a_failed_dependency_fails_the_task_without_running_it(tmp_path: Any) -> None:
    mark = tmp_path / "ran"

    @rayc.remote
    def use(value: Any, path: str) -> None:
        open(path, "w").close()

    with pytest.raises(Plain):
        rayc.get(use.remote(throw.remote(Plain("p")), str(mark)))
    assert not mark.exists()


def test_errors_cross_several_tasks() -> None:
    @rayc.remote
    def outer() -> Any:
        return rayc.get(throw.remote(Plain("deep")))

    @rayc.remote
    def outermost() -> Any:
        return rayc.get(outer.remote())

    with pytest.raises(Plain) as caught:
        rayc.get(outermost.remote())
    assert type(caught.value.cause) is Plain  # type: ignore[attr-defined]
    text = str(caught.value)
    assert text.index("outermost") < text.index("outer()") < text.index("throw")


def test_an_error_can_be_caught_in_a_task() -> None:
    @rayc.remote
    def careful() -> str:
        try:
            rayc.get(throw.remote(Plain("x")))
        except Plain:
            return "caught"
        return "not raised"

    assert rayc.get(careful.remote()) == "caught"


def test_every_return_holds_the_error() -> None:
    for ref in throw.options(num_returns=2).remote(Plain("x")):
        with pytest.raises(Plain):
            rayc.get(ref)


def test_get_of_a_list_raises_the_first_error_in_it() -> None:
    refs = [rayc.put(1), throw.remote(KeyError("a")), throw.remote(ValueError("b"))]
    rayc.wait(refs, num_returns=3)
    with pytest.raises(KeyError):
        rayc.get(refs)


@pytest.mark.skipif(sys.version_info < (3, 11), reason="there are no exception groups")
def test_exception_groups() -> None:
    group = builtins.ExceptionGroup("both", [ValueError(1), KeyError("k")])
    caught: Any = raising(group).value
    assert caught.message == "both"
    assert [type(one) for one in caught.exceptions] == [ValueError, KeyError]
    matched, rest = caught.split(ValueError)
    assert [type(one) for one in matched.exceptions] == [ValueError]
    assert [type(one) for one in rest.exceptions] == [KeyError]


def test_an_error_that_cannot_be_pickled() -> None:
    @rayc.remote
    def raise_lock() -> None:
        import threading

        error = ValueError("with a lock")
        error.lock = threading.Lock()  # type: ignore[attr-defined]
        raise error

    with pytest.raises(RayError, match="with a lock"):
        rayc.get(raise_lock.remote())


def test_an_error_that_cannot_be_unpickled() -> None:
    @rayc.remote
    def raise_odd() -> None:
        class Odd(Exception):
            def __reduce__(self) -> Any:
                return int, ("no number",)

        raise Odd("the text")

    with pytest.raises(RayError) as caught:
        rayc.get(raise_odd.remote())
    assert isinstance(caught.value.cause, UnserializableException)  # type: ignore[attr-defined]
    assert "the text" in str(caught.value)


def test_a_chain_of_causes_is_in_the_text() -> None:
    @rayc.remote
    def chained() -> None:
        try:
            raise KeyError("first")
        except KeyError as error:
            raise ValueError("second") from error

    with pytest.raises(ValueError) as caught:
        rayc.get(chained.remote())
    assert "first" in str(caught.value)
    assert "direct cause" in str(caught.value)


def test_a_worker_that_is_killed() -> None:
    @rayc.remote(max_retries=0)
    def suicide() -> None:
        os.kill(os.getpid(), signal.SIGKILL)

    with pytest.raises(WorkerCrashedError, match=r"SIGKILL|signal 9"):
        rayc.get(suicide.remote())
    assert rayc.get(rayc.remote(lambda: 1).remote()) == 1


def test_a_worker_that_exits() -> None:
    @rayc.remote(max_retries=0)
    def leave() -> None:
        print("last words", file=sys.stderr, flush=True)
        os._exit(17)

    with pytest.raises(WorkerCrashedError) as caught:
        rayc.get(leave.remote())
    assert "17" in str(caught.value)
    assert "last words" in str(caught.value)


def test_sys_exit_in_a_task() -> None:
    @rayc.remote(max_retries=0)
    def leave() -> None:
        sys.exit(5)

    with pytest.raises(WorkerCrashedError):
        rayc.get(leave.remote())


def test_a_task_is_retried_when_its_worker_dies(tmp_path: Any) -> None:
    @rayc.remote(max_retries=2)
    def third_time(folder: str) -> int:
        runs = len(os.listdir(folder))
        open(os.path.join(folder, str(runs)), "w").close()
        if runs < 2:
            os._exit(1)
        return runs

    assert rayc.get(third_time.remote(str(tmp_path))) == 2


def test_retry_exceptions(tmp_path: Any) -> None:
    @rayc.remote(max_retries=3, retry_exceptions=True)
    def third_time(folder: str) -> int:
        runs = len(os.listdir(folder))
        open(os.path.join(folder, str(runs)), "w").close()
        if runs < 2:
            raise ValueError("not yet")
        return runs

    assert rayc.get(third_time.remote(str(tmp_path))) == 2


def test_exceptions_are_not_retried_by_default(tmp_path: Any) -> None:
    @rayc.remote
    def fail(folder: str) -> None:
        open(os.path.join(folder, str(len(os.listdir(folder)))), "w").close()
        raise ValueError("no")

    with pytest.raises(ValueError):
        rayc.get(fail.remote(str(tmp_path)))
    assert len(os.listdir(tmp_path)) == 1


def test_a_module_that_the_worker_does_not_have() -> None:
    import types

    module = types.ModuleType("only_in_the_driver")
    exec("class Thing: pass", module.__dict__)
    sys.modules[module.__name__] = module
    thing = module.Thing
    try:

        @rayc.remote
        def use() -> Any:
            return thing()

        with pytest.raises(RuntimeError, match="only_in_the_driver"):
            rayc.get(use.remote())

        @rayc.remote
        class Uses:
            kind = thing

            def hello(self) -> None:
                pass

        actor = Uses.remote()
        with pytest.raises(rayc.exceptions.ActorDiedError, match="only_in_the_driver"):
            rayc.get(actor.hello.remote())
    finally:
        del sys.modules[module.__name__]
