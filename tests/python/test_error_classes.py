"""The tree of exceptions, without a session."""

from __future__ import annotations

import builtins
import pickle
from typing import Any

import pytest

from rayc import exceptions
from rayc._private.task_errors import make_task_error
from rayc.exceptions import RayError, RayTaskError

PARENTS = {
    "ActorDiedError": "RayActorError",
    "ActorUnavailableError": "RayActorError",
    "ObjectFetchTimedOutError": "ObjectLostError",
    "ReferenceCountingAssertionError": "ObjectLostError",
    "ObjectFreedError": "ObjectLostError",
    "OwnerDiedError": "ObjectLostError",
    "ObjectReconstructionFailedError": "ObjectLostError",
    "StreamingGeneratorReplayInconsistentError": "RaySystemError",
    "RayChannelError": "RaySystemError",
    "RayChannelTimeoutError": "RayChannelError",
}


def test_every_class_is_a_rayerror() -> None:
    for name in exceptions.__all__:
        assert issubclass(getattr(exceptions, name), RayError)
    for child, parent in PARENTS.items():
        assert issubclass(getattr(exceptions, child), getattr(exceptions, parent))


def test_second_bases() -> None:
    assert issubclass(exceptions.GetTimeoutError, TimeoutError)
    assert issubclass(exceptions.RayChannelTimeoutError, TimeoutError)
    assert issubclass(exceptions.ReferenceCountingAssertionError, AssertionError)
    assert issubclass(exceptions.ActorAlreadyExistsError, ValueError)
    assert issubclass(exceptions.ActorHandleNotFoundError, ValueError)


@pytest.mark.parametrize(
    "name", [name for name in exceptions.__all__ if name not in ("RayTaskError",)]
)
def test_every_error_pickles(name: str) -> None:
    error = getattr(exceptions, name)()
    again = pickle.loads(pickle.dumps(error))
    assert type(again) is type(error)
    assert str(again) == str(error)
    assert vars(again) == vars(error)


def test_attributes() -> None:
    died = exceptions.ActorDiedError("it fell", "ab12")
    assert (died.actor_id, died.error_msg, died.actor_init_failed) == ("ab12", "it fell", False)
    assert not died.preempted
    lost = exceptions.OwnerDiedError("ff00", b"address", "file.py:3")
    assert (lost.object_ref_hex, lost.owner_address, lost.call_site) == (
        "ff00",
        b"address",
        "file.py:3",
    )
    assert "ff00" in str(lost)
    assert "file.py:3" in str(lost)


def raised(error: BaseException) -> BaseException:
    try:
        raise error
    except BaseException as caught:
        return caught


class Slotted(Exception):
    __slots__ = ("extra",)

    def __init__(self, extra: int) -> None:
        super().__init__()
        self.extra = extra


class NoStr(Exception):
    def __str__(self) -> str:
        raise RuntimeError("no text")


def test_the_cause_s_constructor_is_not_called_again() -> None:
    calls: list[int] = []

    class Counting(Exception):
        def __init__(self) -> None:
            calls.append(1)

    error = make_task_error(raised(Counting()), "f").as_instanceof_cause()
    assert isinstance(error, Counting)
    assert calls == [1]


def test_slots_and_odd_classes() -> None:
    error: Any = make_task_error(raised(Slotted(3)), "f").as_instanceof_cause()
    assert isinstance(error, Slotted)
    assert error.extra == 3
    assert isinstance(make_task_error(raised(NoStr()), "f").as_instanceof_cause(), NoStr)


@pytest.mark.parametrize(
    "kind",
    [
        kind
        for kind in vars(builtins).values()
        if isinstance(kind, type) and issubclass(kind, Exception) and kind is not Exception
        if not kind.__name__.startswith("Unicode") and not kind.__name__.endswith("Group")
    ],
)
def test_builtin_classes(kind: type[Exception]) -> None:
    error = make_task_error(raised(kind("x")), "f").as_instanceof_cause()
    assert isinstance(error, kind)
    assert isinstance(pickle.loads(pickle.dumps(error)), kind)


def test_base_classes_of_the_tree_stay_plain() -> None:
    for cause in (Exception("x"), RayError("x")):
        error = make_task_error(raised(cause), "f").as_instanceof_cause()
        assert type(error) is RayTaskError


def test_a_class_that_cannot_be_inherited_from() -> None:
    class Final(Exception):
        def __init_subclass__(cls) -> None:
            raise TypeError("final")

    error = make_task_error(raised(Final("x")), "f")
    with pytest.warns(RuntimeWarning, match="Final"):
        assert error.as_instanceof_cause() is error


def test_interrupts_and_exits_as_causes() -> None:
    for cause in (KeyboardInterrupt(), SystemExit(3), GeneratorExit()):
        error = make_task_error(raised(cause), "f").as_instanceof_cause()
        assert isinstance(error, type(cause))
    assert error.cause is cause


def test_unicode_errors_keep_their_fields() -> None:
    try:
        b"\xff".decode()
    except UnicodeDecodeError as cause:
        error: Any = make_task_error(cause, "f").as_instanceof_cause()
    assert (error.start, error.end, error.object) == (0, 1, b"\xff")


def test_nested_errors_are_flattened() -> None:
    inner = make_task_error(raised(ValueError("deep")), "inner").as_instanceof_cause()
    outer = make_task_error(raised(inner), "outer").as_instanceof_cause()
    assert type(outer.cause) is ValueError
    assert str(outer).index("outer") < str(outer).index("inner")
    assert isinstance(outer, ValueError)
