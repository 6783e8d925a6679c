"""What a handle needs to know about an actor's class, without having the class.

The driver that makes an actor builds a `MethodTable` from the class; it travels pickled
with handles, and with the actor itself for those who look it up by name.
"""

from __future__ import annotations

import pickle
import sys
from collections.abc import Callable
from typing import Any, NamedTuple

from rayc._private.signature import Signature, is_async, is_generator
from rayc._raylet import PythonFunctionDescriptor, SubmitOptions

METHOD_OPTIONS = "__rayc_method_options__"  # where the decorator `method` leaves its options


class MethodInfo(NamedTuple):
    """One method, as callers see it."""

    signature: Signature
    options: dict[str, Any]  # of the decorator `method`
    is_generator: bool
    is_async: bool
    doc: str | None


def class_members(cls: type) -> dict[str, Any]:
    """Return the functions that a class and its bases define, as found in their dicts."""
    members: dict[str, Any] = {}
    for base in reversed(cls.__mro__):
        if base is not object:
            for name, member in vars(base).items():
                if isinstance(member, (staticmethod, classmethod)) or _is_function(member):
                    members[name] = member
                else:
                    members.pop(name, None)
    return members


def _is_function(member: Any) -> bool:
    name = type(member).__name__
    return name in ("function", "cython_function_or_method", "builtin_function_or_method")


def user_methods(cls: type) -> dict[str, Callable[..., Any]]:
    """Return a function for each method, to be called with the actor and the arguments."""
    methods: dict[str, Callable[..., Any]] = {}
    for name, member in class_members(cls).items():
        if isinstance(member, (staticmethod, classmethod)):
            methods[name] = _without_self(getattr(cls, name))
        else:
            methods[name] = member
    return methods


def _without_self(bound: Callable[..., Any]) -> Callable[..., Any]:
    def call(actor: Any, *args: Any, **kwargs: Any) -> Any:
        return bound(*args, **kwargs)

    return call


def system_methods() -> dict[str, Callable[..., Any]]:
    """Return the methods that every actor has."""
    return {
        "__ray_ready__": _ray_ready,
        "__ray_call__": _ray_call,
        "__ray_terminate__": _ray_terminate,
    }


def _ray_ready(actor: Any) -> bool:
    return True


def _ray_call(actor: Any, function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    return function(actor, *args, **kwargs)


def _ray_terminate(actor: Any) -> None:
    leave_actor("__ray_terminate__ was called")


def leave_actor(detail: str) -> None:
    """End the actor that this thread runs a method of, on purpose."""
    from rayc._private.worker import global_worker
    from rayc.exceptions import AsyncioActorExit

    global_worker.existing().announce_exit(0, detail)
    events = sys.modules.get("asyncio.events")
    if events is not None and events._get_running_loop() is not None:
        raise AsyncioActorExit(detail)
    raise SystemExit(0)


class MethodTable:
    """The methods of an actor class, and how to call them.

    Parameters
    ----------
    module_name, class_name : str
        Of the class.
    methods : dict
        MethodInfo by name.
    max_task_retries : int
        The actor's; a method's own value goes before it.
    max_pending_calls : int
        How many calls of one process may be pending; -1: any number.
    """

    def __init__(
        self,
        module_name: str,
        class_name: str,
        methods: dict[str, MethodInfo],
        max_task_retries: int = 0,
        max_pending_calls: int = -1,
    ) -> None:
        self.module_name = module_name
        self.class_name = class_name
        self.methods = methods
        self.max_task_retries = max_task_retries
        self.max_pending_calls = max_pending_calls
        self._pickled: bytes | None = None
        self._submit_options: dict[str, SubmitOptions] = {}
        self._generation = 0

    @classmethod
    def of_class(
        cls, actor_class: type, descriptor: PythonFunctionDescriptor, max_task_retries: int = 0
    ) -> MethodTable:
        """Describe a class."""
        methods = {name: _system_info(name) for name in system_methods()}
        for name, member in class_members(actor_class).items():
            function = getattr(member, "__func__", member)
            methods[name] = MethodInfo(
                signature=Signature.of(
                    function, name, skip=0 if isinstance(member, staticmethod) else 1
                ),
                options=getattr(function, METHOD_OPTIONS, {}),
                is_generator=is_generator(function),
                is_async=is_async(function),
                doc=function.__doc__,
            )
        return cls(descriptor.module_name, descriptor.class_name, methods, max_task_retries)

    def with_limits(self, max_task_retries: int, max_pending_calls: int) -> MethodTable:
        """Return the same table for actors with other options."""
        if (max_task_retries, max_pending_calls) == (self.max_task_retries, self.max_pending_calls):
            return self
        return MethodTable(
            self.module_name, self.class_name, self.methods, max_task_retries, max_pending_calls
        )

    @property
    def is_asyncio(self) -> bool:
        """Whether any method is ``async def``."""
        return any(info.is_async for info in self.methods.values())

    def submit_options(self, name: str, generation: int) -> SubmitOptions:
        """Return what calls of a method without further options share in a session."""
        if generation != self._generation:
            self._submit_options = {}
            self._generation = generation
        options = self._submit_options.get(name)
        if options is None:
            own = self.methods[name].options
            options = SubmitOptions(
                PythonFunctionDescriptor(self.module_name, name, self.class_name),
                num_returns=num_returns_of(own, self.methods[name].is_generator, name),
                retry_exceptions=retry_exceptions_of(own),
                retry_exception_types=retry_exception_types_of(own),
                concurrency_group=own.get("concurrency_group") or "",
            )
            self._submit_options[name] = options
        return options

    def to_bytes(self) -> bytes:
        """Pickle this table (once)."""
        if self._pickled is None:
            parts = (self.module_name, self.class_name, self.methods)
            self._pickled = pickle.dumps((*parts, self.max_task_retries, self.max_pending_calls), 5)
        return self._pickled

    @classmethod
    def from_bytes(cls, data: bytes) -> MethodTable:
        """Return the table that was pickled so; the same object for the same bytes."""
        table = _tables.get(data)
        if table is None:
            table = cls(*pickle.loads(data))
            table._pickled = data
            if len(_tables) >= _TABLES_MAX:
                _tables.clear()
            _tables[data] = table
        return table


_TABLES_MAX = 256  # a process that sees more classes than this unpickles some twice
_tables: dict[bytes, MethodTable] = {}


def _system_info(name: str) -> MethodInfo:
    function = system_methods()[name]
    return MethodInfo(Signature.of(function, name, skip=1), {}, False, False, None)


def num_returns_of(options: dict[str, Any], generates: bool, name: str) -> int:
    """Return the number of values that a call returns."""
    count = options.get("num_returns")
    if count is None:
        count = "streaming" if generates else 1
    if not isinstance(count, int):
        raise NotImplementedError(
            f"{name}() returns a stream of values (num_returns={count!r}), which rayc does not "
            "have yet. Give num_returns=N if it always yields N values, or return a list."
        )
    return count


def retry_exceptions_of(options: dict[str, Any]) -> bool:
    """Return whether exceptions of the user's code (perhaps only some) make a task run again."""
    return bool(options.get("retry_exceptions", False))


def retry_exception_types_of(options: dict[str, Any]) -> bytes:
    """Return the classes of those exceptions, pickled; b"" if there is no choice."""
    retry = options.get("retry_exceptions", False)
    if not retry or isinstance(retry, bool):
        return b""
    from rayc._private import code_pickling

    return code_pickling.dumps(tuple(retry))
