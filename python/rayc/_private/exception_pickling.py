"""Pickles exceptions of the user's code, whatever they are.

Python pickles an exception as "call its class with `args`". That fails, or lies, for classes
whose constructor passes something else to its base.
"""

from __future__ import annotations

from typing import Any, cast


def dump_exception(error: BaseException) -> bytes:
    """Pickle an exception so that it surely comes out again, if need be as another one."""
    import cloudpickle

    try:
        data: bytes = cloudpickle.dumps(error)
        if "__init__" not in _python_members(type(error)) or _is_faithful(data, error):
            return data
        parts = (type(error), error.args, dict(error.__dict__))
        return cast(bytes, cloudpickle.dumps(_WithoutConstructor(*parts)))
    except Exception as failure:
        from rayc.exceptions import RayError

        text = f"{type(error).__qualname__}: {_safe_str(error)}"
        note = f" (replaced, as the original could not be pickled: {failure})"
        return cast(bytes, cloudpickle.dumps(RayError(text + note)))


def load_exception(data: bytes) -> BaseException:
    """Return what `dump_exception` was given; raises whatever unpickling it raises."""
    import pickle

    error = pickle.loads(data)
    if not isinstance(error, BaseException):
        raise TypeError(f"it was pickled as a {type(error).__qualname__}, which is no exception")
    return error


def _is_faithful(data: bytes, error: BaseException) -> bool:
    import pickle

    try:
        copy = pickle.loads(data)
        return type(copy) is type(error) and bool(copy.args == error.args)
    except Exception:
        return False


def _python_members(cls: type) -> set[str]:
    return {name for base in cls.__mro__ if base.__module__ != "builtins" for name in vars(base)}


class _WithoutConstructor:
    """Pickles to an exception that is made without running its constructor."""

    def __init__(self, *parts: Any) -> None:
        self.parts = parts

    def __reduce__(self) -> tuple[Any, ...]:
        return _restore, self.parts


def _restore(
    cls: type[BaseException], args: tuple[Any, ...], state: dict[str, Any]
) -> BaseException:
    error = cls.__new__(cls, *args)
    error.args = args
    error.__dict__.update(state)
    return error


def _safe_str(value: object) -> str:
    try:
        return str(value)
    except Exception as failure:
        return f"<its str() failed: {failure!r}>"
