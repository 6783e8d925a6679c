"""Arguments are checked where a call is made, as Python itself would."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import pytest

from rayc._private.signature import Signature, is_async, is_generator


def nothing() -> None: ...
def one(a: Any) -> None: ...
def defaults(a: Any, b: Any = 1, c: Any = 2) -> None: ...
def positional_only(a: Any, b: Any = 1, /, c: Any = 2) -> None: ...
def keyword_only(a: Any, *, b: Any, c: Any = 1) -> None: ...
def any_positional(a: Any, *rest: Any) -> None: ...
def any_keyword(a: Any, **rest: Any) -> None: ...
def shadowed(a: Any, /, **rest: Any) -> None: ...
def everything(a: Any, /, b: Any, *rest: Any, c: Any, d: Any = 1, **more: Any) -> None: ...


CALLS: list[tuple[tuple[Any, ...], dict[str, Any]]] = [
    ((), {}),
    ((1,), {}),
    ((1, 2), {}),
    ((1, 2, 3), {}),
    ((1, 2, 3, 4), {}),
    ((), {"a": 1}),
    ((1,), {"a": 1}),
    ((1,), {"b": 2}),
    ((1, 2), {"b": 2}),
    ((1, 2), {"c": 2}),
    ((1,), {"b": 2, "c": 3}),
    ((1, 2), {"c": 3, "d": 4, "e": 5}),
    ((), {"b": 1, "c": 2}),
    ((1,), {"zzz": 1}),
]

FUNCTIONS = [
    nothing,
    one,
    defaults,
    positional_only,
    keyword_only,
    any_positional,
    any_keyword,
    shadowed,
    everything,
]


def accepts(function: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> bool:
    try:
        function(*args, **kwargs)
    except TypeError:
        return False
    return True


def is_accepted(signature: Signature, args: tuple[Any, ...], kwargs: dict[str, Any]) -> bool:
    if not kwargs and signature.minimum <= len(args) <= signature.maximum:
        return True
    try:
        signature.check(args, kwargs)
    except TypeError:
        return False
    return True


@pytest.mark.parametrize("function", FUNCTIONS, ids=lambda f: f.__name__)
@pytest.mark.parametrize(("args", "kwargs"), CALLS, ids=repr)
def test_as_python_does(
    function: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]
) -> None:
    assert is_accepted(Signature.of(function, "f"), args, kwargs) == accepts(function, args, kwargs)


def test_without_self() -> None:
    class Class:
        def method(self, a: Any, b: Any = 1) -> None: ...

    signature = Signature.of(Class.method, "method", skip=1)
    assert signature.positional == ("a", "b")
    assert (signature.minimum, signature.maximum) == (1, 2)


def test_callables_that_are_no_plain_functions() -> None:
    @functools.wraps(one)
    def wrapper(*args: Any, **kwargs: Any) -> None: ...

    assert not is_accepted(Signature.of(wrapper, "one"), (), {})
    assert is_accepted(Signature.of(wrapper, "one"), (1,), {})
    partial = functools.partial(defaults, 1)
    assert is_accepted(Signature.of(partial, "p"), (2, 3), {})
    assert not is_accepted(Signature.of(partial, "p"), (2, 3, 4), {})
    assert is_accepted(Signature.of(print, "print"), (1, 2, 3), {"sep": ""})


def test_generators_and_coroutines() -> None:
    def generator() -> Any:
        yield

    async def coroutine() -> None: ...

    async def both() -> Any:
        yield

    assert [is_generator(f) for f in (one, generator, coroutine, both)] == [
        False,
        True,
        False,
        True,
    ]
    assert [is_async(f) for f in (one, generator, coroutine, both)] == [False, False, True, True]
