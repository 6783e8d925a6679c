"""Says which part of a value cannot be pickled."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

_DEPTH_MAX = 8
_PARTS_MAX = 10_000  # a larger value is only said to be unpicklable


class Culprit(NamedTuple):
    """A part that cannot be pickled, none of whose own parts can be blamed."""

    path: str  # as one would write it in Python, e.g. "config['lock']"
    value: Any
    parent: Any
    error: Exception


def explain_unpicklable(value: Any, error: BaseException) -> str:
    """Return one sentence that names the part of a value at fault."""
    culprit = find_culprit(value)
    if culprit is None:
        return f"cannot pickle a {type(value).__qualname__}: {_first_line(error)}"
    kind = type(culprit.value).__qualname__
    reason = _first_line(culprit.error)
    if not culprit.path:
        return f"cannot pickle a {kind}: {reason}"
    return f"cannot pickle its part {culprit.path} (a {kind}): {reason}"


def _first_line(error: BaseException) -> str:
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__


def find_culprit(value: Any, name: str = "", depth: int = _DEPTH_MAX) -> Culprit | None:
    """Return the deepest part at fault, or None if the value can be pickled."""
    return _Search().blame(value, name, None, depth)


class _Search:
    def __init__(self) -> None:
        self.seen: dict[int, Any] = {}  # keeps the values, so that no id is used twice

    def blame(self, value: Any, path: str, parent: Any, depth: int) -> Culprit | None:
        if id(value) in self.seen or len(self.seen) > _PARTS_MAX:
            return None
        error = _pickling_error(value)
        if error is None:
            return None
        self.seen[id(value)] = value
        if depth > 0:
            for suffix, part in _parts(value):
                part_path = f"{path}{suffix}" if path else suffix.lstrip(".")
                found = self.blame(part, part_path, value, depth - 1)
                if found is not None:
                    return found
        return Culprit(path, value, parent, error)


def _pickling_error(value: Any) -> Exception | None:
    import cloudpickle

    try:
        cloudpickle.dumps(value)
    except Exception as error:
        return error
    return None


def _parts(value: Any) -> Iterator[tuple[str, Any]]:
    """Yield what is pickled with a value, and how one gets there from it."""
    if isinstance(value, dict):
        for key, part in value.items():
            yield f"[{key!r}]", part
        for key in value:
            yield f".key({key!r})", key
    elif isinstance(value, (list, tuple)):
        for index, part in enumerate(value):
            yield f"[{index}]", part
    elif isinstance(value, (set, frozenset)):
        for part in value:
            yield f".member({_short(part)})", part
    elif isinstance(value, type):
        for name, part in vars(value).items():
            if not name.startswith("__") or callable(part):
                yield f".{name}", getattr(part, "__func__", part)
    elif hasattr(value, "__code__"):
        yield from _parts_of_function(value)
    elif hasattr(value, "__self__") and hasattr(value, "__func__"):
        yield ".__self__", value.__self__
        yield ".__func__", value.__func__
    else:
        for name, part in getattr(value, "__dict__", {}).items():
            yield f".{name}", part
        for base in type(value).__mro__:
            slots = vars(base).get("__slots__", ())
            for name in (slots,) if isinstance(slots, str) else slots:
                if hasattr(value, name):
                    yield f".{name}", getattr(value, name)


def _parts_of_function(function: Any) -> Iterator[tuple[str, Any]]:
    cells = function.__closure__ or ()
    for name, cell in zip(function.__code__.co_freevars, cells, strict=False):
        try:
            yield f".<variable {name}>", cell.cell_contents
        except ValueError:
            pass  # not bound yet
    for name in function.__code__.co_names:
        if name in function.__globals__:
            yield f".<global {name}>", function.__globals__[name]
    for index, part in enumerate(function.__defaults__ or ()):
        yield f".<default {index}>", part
    for name, part in (function.__kwdefaults__ or {}).items():
        yield f".<default {name}>", part


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 40 else text[:37] + "..."
