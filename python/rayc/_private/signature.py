"""Checks a call's arguments where the call is made.

The usual call has plain positional arguments: for it, counting them is enough, and the
caller compares with `minimum` and `maximum` itself. `check` is the slow road; it raises
what Python would raise. Python's own `inspect` is used only for callables that are not
plain functions.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

NO_LIMIT = 1 << 62

_VARARGS, _VARKEYWORDS = 0x04, 0x08  # the bits of code objects' co_flags
_GENERATOR, _COROUTINE, _ITERABLE_COROUTINE, _ASYNC_GENERATOR = 0x20, 0x80, 0x100, 0x200


class Signature(NamedTuple):
    """What may be passed to a callable.

    Attributes
    ----------
    minimum, maximum : int
        How many positional arguments a call without keywords may have; `minimum` is over
        `maximum` if there must be keywords.
    positional : tuple of str
        Names of the positional parameters, in order.
    required : int
        How many of these have no default.
    positional_only : int
        How many of these cannot be passed by name.
    keyword_only : tuple of str
        Names of the others.
    keyword_only_required : tuple of str
        Those of them without a default.
    takes_any_positional, takes_any_keyword : bool
        Whether there is ``*args`` and ``**kwargs``.
    """

    name: str
    minimum: int
    maximum: int
    positional: tuple[str, ...]
    required: int
    positional_only: int
    keyword_only: tuple[str, ...]
    keyword_only_required: tuple[str, ...]
    takes_any_positional: bool
    takes_any_keyword: bool

    @classmethod
    def of(cls, function: Callable[..., Any], name: str, skip: int = 0) -> Signature:
        """Return the signature of a callable, without its first `skip` parameters."""
        code = getattr(function, "__code__", None)
        plain = type(function).__name__ == "function" and not hasattr(function, "__wrapped__")
        if code is None or not plain or hasattr(function, "__signature__"):
            return cls._inspected(function, name, skip)
        count = code.co_argcount
        names = code.co_varnames
        defaults = function.__defaults__ or ()
        keyword_defaults = function.__kwdefaults__ or {}
        keyword_only = names[count : count + code.co_kwonlyargcount]
        return cls._make_up(
            name=name,
            positional=names[:count][skip:],
            required=max(0, count - len(defaults) - skip),
            positional_only=max(0, code.co_posonlyargcount - skip),
            keyword_only=keyword_only,
            keyword_only_required=tuple(k for k in keyword_only if k not in keyword_defaults),
            any_positional=bool(code.co_flags & _VARARGS),
            any_keyword=bool(code.co_flags & _VARKEYWORDS),
        )

    @classmethod
    def _inspected(cls, function: Callable[..., Any], name: str, skip: int) -> Signature:
        import inspect

        try:
            parameters = list(inspect.signature(function).parameters.values())
        except (TypeError, ValueError):
            return cls.of_anything(name)
        kinds = inspect.Parameter
        positional = [
            p for p in parameters if p.kind in (kinds.POSITIONAL_ONLY, kinds.POSITIONAL_OR_KEYWORD)
        ][skip:]
        keyword_only = [p for p in parameters if p.kind == kinds.KEYWORD_ONLY]
        return cls._make_up(
            name=name,
            positional=tuple(p.name for p in positional),
            required=sum(p.default is p.empty for p in positional),
            positional_only=sum(p.kind == kinds.POSITIONAL_ONLY for p in positional),
            keyword_only=tuple(p.name for p in keyword_only),
            keyword_only_required=tuple(p.name for p in keyword_only if p.default is p.empty),
            any_positional=any(p.kind == kinds.VAR_POSITIONAL for p in parameters),
            any_keyword=any(p.kind == kinds.VAR_KEYWORD for p in parameters),
        )

    @classmethod
    def of_anything(cls, name: str) -> Signature:
        """Return a signature that accepts every call."""
        return cls._make_up(name, (), 0, 0, (), (), True, True)

    @classmethod
    def _make_up(
        cls,
        name: str,
        positional: tuple[str, ...],
        required: int,
        positional_only: int,
        keyword_only: tuple[str, ...],
        keyword_only_required: tuple[str, ...],
        any_positional: bool,
        any_keyword: bool,
    ) -> Signature:
        return cls(
            name=name,
            minimum=NO_LIMIT + 1 if keyword_only_required else required,
            maximum=NO_LIMIT if any_positional else len(positional),
            positional=positional,
            required=required,
            positional_only=positional_only,
            keyword_only=keyword_only,
            keyword_only_required=keyword_only_required,
            takes_any_positional=any_positional,
            takes_any_keyword=any_keyword,
        )

    def check(self, args: Sequence[Any], kwargs: dict[str, Any]) -> None:
        """Raise TypeError if the callable would not accept these arguments."""
        given = len(args)
        names = self.positional
        if given > len(names) and not self.takes_any_positional:
            least = self.required
            bounds = str(len(names)) if least == len(names) else f"from {least} to {len(names)}"
            noun = "argument" if bounds == "1" else "arguments"
            verb = "was" if given == 1 else "were"
            raise TypeError(
                f"{self.name}() takes {bounds} positional {noun} but {given} {verb} given"
            )
        by_name = names[self.positional_only :]
        for key in kwargs:
            if key in by_name:
                if names.index(key) < given:
                    raise TypeError(f"{self.name}() got multiple values for argument {key!r}")
            elif key not in self.keyword_only and not self.takes_any_keyword:
                if key in names:
                    raise TypeError(
                        f"{self.name}() got a positional-only argument passed by name: {key!r}"
                    )
                raise TypeError(f"{self.name}() got an unexpected keyword argument {key!r}")
        missing = [
            key
            for index, key in enumerate(names[: self.required])
            if index >= given and (key not in kwargs or index < self.positional_only)
        ]
        self._raise_missing(missing, "positional")
        missing = [key for key in self.keyword_only_required if key not in kwargs]
        self._raise_missing(missing, "keyword-only")

    def _raise_missing(self, missing: list[str], kind: str) -> None:
        if missing:
            noun = "argument" if len(missing) == 1 else "arguments"
            listed = ", ".join(repr(key) for key in missing)
            raise TypeError(
                f"{self.name}() missing {len(missing)} required {kind} {noun}: {listed}"
            )


def _flags(function: Any) -> int:
    while hasattr(function, "__wrapped__"):
        function = function.__wrapped__
    code = getattr(function, "__code__", None)
    return int(getattr(code, "co_flags", 0))


def is_generator(function: Any) -> bool:
    """Return whether calling it makes a generator, also an asynchronous one."""
    return bool(_flags(function) & (_GENERATOR | _ASYNC_GENERATOR))


def is_async(function: Any) -> bool:
    """Return whether it is ``async def``."""
    return bool(_flags(function) & (_COROUTINE | _ITERABLE_COROUTINE | _ASYNC_GENERATOR))
