"""Actors: objects that live in a process of their own and are called from others."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from typing import Any, TypeVar, overload

from rayc._private.actor_table import (
    METHOD_OPTIONS,
    MethodTable,
    leave_actor,
    num_returns_of,
    retry_exception_types_of,
    retry_exceptions_of,
)
from rayc._private.driver_log import warn
from rayc._private.options import (
    METHOD_DECORATOR_OPTIONS,
    actor_demand,
    check_actor_options,
    check_method_options,
    refuse_what_is_not_there,
)
from rayc._private.signature import Signature, is_generator
from rayc._private.worker import global_worker, stale_message
from rayc._raylet import (
    WORKER_MODE,
    ActorID,
    ActorOptions,
    ObjectRef,
    PythonFunctionDescriptor,
    SubmitOptions,
)
from rayc.exceptions import ActorAlreadyExistsError
from rayc.placement import strategy_of

__all__ = [
    "ActorClass",
    "ActorClassInheritanceException",
    "ActorHandle",
    "ActorMethod",
    "exit_actor",
    "method",
]

F = TypeVar("F", bound=Callable[..., Any])

_ASYNC_CONCURRENCY = 1000  # calls that an asyncio actor runs at a time by default
_GET_IF_EXISTS_TRIES = 20


@overload
def method(function: F, /) -> F: ...


@overload
def method(**options: Any) -> Callable[[F], F]: ...


def method(*args: Any, **options: Any) -> Any:
    """Decorate a method of an actor class with the options of its calls.

    Parameters
    ----------
    num_returns : int, optional
        How many values the method returns, each as a reference of its own.
    concurrency_group : str, optional
        The group of threads that runs it.
    max_task_retries : int, optional
        How often a call is repeated if the actor dies; -1 is for ever.
    retry_exceptions : bool or list of classes, optional
        Whether (and which) exceptions repeat it too.
    enable_task_events : bool, optional
        Whether calls show up in the state API.

    Examples
    --------
    >>> class Pair:
    ...     @rayc.method(num_returns=2)
    ...     def both(self):
    ...         return 1, 2
    """
    if args:
        if len(args) == 1 and not options and callable(args[0]):
            return args[0]
        raise AssertionError("@rayc.method takes keywords only, as in @rayc.method(num_returns=2)")
    for name in options:
        if name not in METHOD_DECORATOR_OPTIONS:
            allowed = ", ".join(one for one in METHOD_DECORATOR_OPTIONS if one[0] != "_")
            raise AssertionError(f"{name!r} is no option of @rayc.method. These are: {allowed}")
    check_method_options(options)

    def decorate(function: F) -> F:
        if isinstance(options.get("num_returns"), str) and not is_generator(function):
            raise ValueError(
                f"num_returns={options['num_returns']!r} is for generators, and "
                f"{function.__qualname__} has no yield"
            )
        setattr(function, METHOD_OPTIONS, options)
        return function

    return decorate


class ActorClassInheritanceException(TypeError):
    """A class inherits from one that is decorated with ``@rayc.remote``."""


class ActorClass:
    """A class whose objects are actors.

    Made by the decorator ``remote``. ``Class.remote(...)`` creates an actor and returns
    its handle at once; ``Class.options(...)`` returns a variant with other options.
    """

    def __init__(self, cls: type, options: dict[str, Any]) -> None:
        check_actor_options(options, in_call=False)
        self._class = cls
        self._options = options
        self._uuid = os.urandom(16).hex()
        self._descriptor = _class_descriptor(cls, self._uuid)
        self._signature = _constructor_signature(cls)
        self._table = MethodTable.of_class(cls, self._descriptor)
        self._exported_to: tuple[str, bytes] | None = None
        self._lock = threading.RLock()
        self._adopt_names()

    def _adopt_names(self) -> None:
        cls = self._class
        self.__module__ = cls.__module__
        self.__name__ = cls.__name__
        self.__qualname__ = cls.__qualname__
        self.__doc__ = cls.__doc__

    def __mro_entries__(self, bases: tuple[Any, ...]) -> tuple[type, ...]:
        """Refuse to be inherited from."""
        raise ActorClassInheritanceException(
            f"{self._class.__name__} is decorated with @rayc.remote and cannot be inherited from: "
            "inherit from an undecorated class, and decorate the class that you create actors of"
        )

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Refuse: an actor is created with ``.remote()``."""
        name = self._class.__name__
        raise TypeError(
            f"Actors cannot be created by calling the class: use {name}.remote(...) instead of "
            f"{name}(...)"
        )

    def __repr__(self) -> str:
        return f"<rayc.ActorClass {self._descriptor.class_name}>"

    def remote(self, *args: Any, **kwargs: Any) -> ActorHandle:
        """Create an actor.

        Parameters
        ----------
        *args, **kwargs
            The constructor's; references among them arrive as their values.

        Returns
        -------
        ActorHandle
            At once: the actor is created meanwhile. What its constructor raises comes out
            of calls of its methods, as the cause of an ActorDiedError.

        Raises
        ------
        TypeError
            If the constructor does not take these arguments.
        ActorAlreadyExistsError
            If the option ``name`` is another actor's.
        """
        return self._create(self._options, args, kwargs)

    def options(self, **options: Any) -> ActorClassWithOptions:
        """Return this class with other options; it stays as it is.

        Parameters
        ----------
        **options
            As for the decorator ``remote``.
        """
        check_actor_options(options, in_call=True)
        return ActorClassWithOptions(self, {**self._options, **options})

    def _create(
        self, options: dict[str, Any], args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> ActorHandle:
        signature = self._signature
        if kwargs or not signature.minimum <= len(args) <= signature.maximum:
            signature.check(args, kwargs)
        global_worker.connected()
        name = options.get("name")
        if name is None:
            return self._submit_creation(options, args, kwargs)
        if not name:
            raise ValueError("The name of an actor must not be the empty string")
        if not options.get("get_if_exists"):
            return self._submit_creation(options, args, kwargs)
        namespace = options.get("namespace") or global_worker.namespace
        for _ in range(_GET_IF_EXISTS_TRIES):
            handle = find_named_actor(name, namespace)
            if handle is not None:
                return handle
            try:
                return self._submit_creation(options, args, kwargs)
            except ActorAlreadyExistsError:
                continue  # someone was faster; unless it has died again, we find it now
        raise ActorAlreadyExistsError(
            f"The actor {name!r} came and went {_GET_IF_EXISTS_TRIES} times while it was looked for"
        )

    def _submit_creation(
        self, options: dict[str, Any], args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> ActorHandle:
        core = global_worker.connected()
        class_name = self._descriptor.class_name
        refuse_what_is_not_there(options, f"{class_name}.remote()")
        if options.get("object_store_memory"):
            warn("The option object_store_memory of actors is deprecated, and reserves nothing")
        demand = actor_demand(options)
        strategy = strategy_of(options, demand, f"{class_name}.remote()")
        self._export()
        max_task_retries = options.get("max_task_retries", 0)
        table = self._table.with_limits(max_task_retries, options.get("max_pending_calls", -1))
        groups = options.get("concurrency_groups") or {}
        self._check_groups(groups)
        concurrency = options.get("max_concurrency")
        if concurrency is None:
            concurrency = _ASYNC_CONCURRENCY if table.is_asyncio else 1
        unordered_by_kind = table.is_asyncio or concurrency > 1 or bool(groups)
        unordered = options.get("allow_out_of_order_execution")
        if unordered is False and unordered_by_kind:
            raise ValueError(
                "allow_out_of_order_execution=False is not possible for an actor that is "
                "asynchronous, or has max_concurrency > 1 or concurrency groups"
            )
        lifetime = options.get("lifetime") or global_worker.job_settings.get(
            "default_actor_lifetime"
        )
        handle_ref = core.create_actor(
            SubmitOptions(
                self._descriptor,
                resources=demand.held,
                placement_resources=demand.placement,
                strategy=strategy,
                runtime_env=global_worker.runtime_env_of_call(options),
            ),
            ActorOptions(
                max_restarts=options.get("max_restarts", 0),
                max_task_retries=max_task_retries,
                max_concurrency=max(1, concurrency),
                is_asyncio=table.is_asyncio,
                is_detached=lifetime == "detached",
                allow_out_of_order=unordered_by_kind if unordered is None else unordered,
                name=options.get("name") or "",
                namespace=options.get("namespace") or global_worker.namespace,
                class_name=class_name,
                handle_state=table.to_bytes(),
                concurrency_groups=groups,
            ),
            (*args, *kwargs.values()),
            tuple(kwargs),
        )
        return ActorHandle(handle_ref.task_id().actor_id(), table, handle_ref)

    def _check_groups(self, groups: dict[str, int]) -> None:
        for name, info in self._table.methods.items():
            group = info.options.get("concurrency_group")
            if group and group not in groups:
                known = ", ".join(map(repr, groups)) or "none"
                raise AssertionError(
                    f"The method {name} of {self._descriptor.class_name} is of the concurrency "
                    f"group {group!r}, which the class does not define. It defines: {known}"
                )

    def _export(self) -> None:
        core = global_worker.connected()
        here = (global_worker.session_name, core.job_id.binary())
        with self._lock:
            if self._exported_to == here:
                return
            before, self._exported_to = self._exported_to, here
            try:
                global_worker.function_actor_manager.export_actor_class(
                    self._class, self._descriptor, list(self._table.methods)
                )
            except BaseException:
                self._exported_to = before
                raise

    def __getstate__(self) -> dict[str, Any]:
        names = ("_class", "_options", "_uuid", "_exported_to")
        return {name: self.__dict__[name] for name in names}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._lock = threading.RLock()
        # The class may not be complete yet, if one of its own methods refers to this object.
        # So all that follows from it is made when it is first needed.

    def __getattr__(self, name: str) -> Any:
        if name == "_descriptor":
            value: Any = _class_descriptor(self._class, self._uuid)
        elif name == "_signature":
            value = _constructor_signature(self._class)
        elif name == "_table":
            value = MethodTable.of_class(self._class, self._descriptor)
        else:
            raise AttributeError(
                f"The actor class has no attribute {name!r}: its methods are called on the handle "
                "that .remote() returns"
            )
        setattr(self, name, value)
        return value


class ActorClassWithOptions:
    """An actor class with options of its own: has ``remote``, and no more."""

    def __init__(self, actor_class: ActorClass, options: dict[str, Any]) -> None:
        self._actor_class = actor_class
        self._options = options

    def remote(self, *args: Any, **kwargs: Any) -> ActorHandle:
        """Create an actor: see `ActorClass.remote`."""
        return self._actor_class._create(self._options, args, kwargs)


def _class_descriptor(cls: type, uuid: str) -> PythonFunctionDescriptor:
    made = PythonFunctionDescriptor.from_class(cls)
    return PythonFunctionDescriptor(made.module_name, made.function_name, made.class_name, uuid)


def _constructor_signature(cls: type) -> Signature:
    name = f"{cls.__qualname__}.__init__"
    if cls.__init__ is not object.__init__:  # type: ignore[misc]
        return Signature.of(cls.__init__, name, skip=1)  # type: ignore[misc]
    if getattr(cls, "__new__", None) is not object.__new__:
        return Signature.of(cls.__new__, name, skip=1)
    return Signature.of(_no_arguments, name)


def _no_arguments() -> None:
    pass


class ActorHandle:
    """A reference to an actor; its attributes are the actor's methods.

    Handles can be passed to tasks and actors and put into the object store. An actor
    lives as long as there are handles to it, except for those that `get_actor` returns.
    """

    def __init__(
        self, actor_id: ActorID, table: MethodTable, handle_ref: ObjectRef[Any] | None
    ) -> None:
        # Public methods of the actor are attributes, hence all of these are private.
        self._actor_id = actor_id
        self._table = table
        self._handle_ref = handle_ref  # counts as a reference to the actor; None: weak
        self._generation = global_worker.generation
        self._session_name = global_worker.session_name

    @property
    def _ray_actor_id(self) -> ActorID:
        return self._actor_id

    def __getattr__(self, name: str) -> ActorMethod:
        """Return a method of the actor."""
        table = self.__dict__.get("_table")
        if table is None or name not in table.methods:
            if table is None:
                raise AttributeError(name)
            raise AttributeError(
                f"The actor class {table.class_name} has no method {name!r} (fields of an actor "
                "are not reachable from outside)"
            )
        bound = ActorMethod(self._twin(), name, {})
        self.__dict__[name] = bound
        return bound

    def _twin(self) -> ActorHandle:
        """Return a handle to the same actor for methods to hold.

        So they keep the actor alive by themselves, and this handle, which has them as attributes,
        goes as soon as its user drops it.
        """
        twin: ActorHandle | None = self.__dict__.get("_own_twin")
        if twin is None:
            twin = ActorHandle(self._actor_id, self._table, self._handle_ref)
            twin._generation, twin._session_name = self._generation, self._session_name
            self._own_twin = twin
        return twin

    def __dir__(self) -> list[str]:
        return [*self._table.methods, *object.__dir__(self)]

    def __eq__(self, other: object) -> bool:
        return isinstance(other, ActorHandle) and self._actor_id == other._actor_id

    def __hash__(self) -> int:
        return hash(self._actor_id)

    def __repr__(self) -> str:
        return f"Actor({self._table.class_name}, {self._actor_id.hex()})"

    def __reduce__(self) -> tuple[Any, ...]:
        self._check_session()
        return _restore_handle, (self._actor_id, self._table.to_bytes(), self._handle_ref)

    def __deepcopy__(self, memo: Any) -> ActorHandle:
        return self

    def _check_session(self) -> None:
        if self._generation != global_worker.generation:
            global_worker.check_session_of(f"The handle {self!r}", self._session_name)

    def _stale_message(self) -> str | None:
        """Say that this handle is of an earlier session, if it is."""
        if self._generation == global_worker.generation:
            return None
        return stale_message(f"The handle {self!r}", self._session_name, global_worker)


def _restore_handle(
    actor_id: ActorID, table: bytes, handle_ref: ObjectRef[Any] | None
) -> ActorHandle:
    return ActorHandle(actor_id, MethodTable.from_bytes(table), handle_ref)


class ActorMethod:
    """A method of an actor; ``handle.method.remote(...)`` calls it.

    It keeps the actor alive as its handle does.
    """

    __slots__ = ("_handle", "_info", "_maximum", "_minimum", "_name", "_options", "_submit_options")

    def __init__(self, handle: ActorHandle, name: str, options: dict[str, Any]) -> None:
        self._handle = handle
        self._name = name
        self._info = handle._table.methods[name]
        self._minimum = self._info.signature.minimum
        self._maximum = self._info.signature.maximum
        self._options = options
        self._submit_options: tuple[SubmitOptions, int] | None = None

    @property
    def __doc__(self) -> str | None:  # type: ignore[override]
        return self._info.doc

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Refuse: a method of an actor is called with ``.remote()``."""
        raise TypeError(
            f"Methods of actors cannot be called directly: use handle.{self._name}.remote(...) "
            f"instead of handle.{self._name}(...)"
        )

    def __repr__(self) -> str:
        return f"<rayc.ActorMethod {self._name} of {self._handle!r}>"

    def remote(self, *args: Any, **kwargs: Any) -> Any:
        """Call the method.

        Parameters
        ----------
        *args, **kwargs
            The method's; references among them arrive as their values.

        Returns
        -------
        ObjectRef, list of ObjectRef, or None
            One reference; a list if ``num_returns`` is over 1; None if it is 0.

        Raises
        ------
        TypeError
            If the method does not take these arguments.
        PendingCallsLimitExceeded
            If as many calls are pending as the actor's option ``max_pending_calls`` allows.
        """
        if kwargs or not self._minimum <= len(args) <= self._maximum:
            self._info.signature.check(args, kwargs)
        handle = self._handle
        if handle._generation != global_worker.generation:
            handle._check_session()
        core = global_worker.connected()
        options, retries = self._submit_options or self._prepare(handle)
        if kwargs:
            args = (*args, *kwargs.values())
        refs = core.submit_actor_task(
            handle._actor_id, options, args, tuple(kwargs), retries, handle._table.max_pending_calls
        )
        if len(refs) == 1:
            return refs[0]
        return refs or None

    def _prepare(self, handle: ActorHandle) -> tuple[SubmitOptions, int]:
        table, own = handle._table, self._options
        options = {**self._info.options, **{k: v for k, v in own.items() if v is not None}}
        if own:
            submit_options = SubmitOptions(
                PythonFunctionDescriptor(table.module_name, self._name, table.class_name),
                name=options.get("name") or "",
                num_returns=num_returns_of(options, self._info.is_generator, self._name),
                retry_exceptions=retry_exceptions_of(options),
                retry_exception_types=retry_exception_types_of(options),
                concurrency_group=options.get("concurrency_group") or "",
            )
        else:
            submit_options = table.submit_options(self._name, handle._generation)
        retries = options.get("max_task_retries")
        prepared = (submit_options, table.max_task_retries if retries is None else retries)
        self._submit_options = prepared
        return prepared

    def options(self, **options: Any) -> MethodWithOptions:
        """Return the method with options for its calls.

        Parameters
        ----------
        **options
            ``name``, ``num_returns``, ``max_task_retries``, ``retry_exceptions``,
            ``concurrency_group``, ``enable_task_events``.
        """
        check_method_options(options)
        if isinstance(options.get("num_returns"), str) and not self._info.is_generator:
            raise ValueError(
                f"num_returns={options['num_returns']!r} is for generators, and {self._name} has "
                "no yield"
            )
        return MethodWithOptions(
            ActorMethod(self._handle, self._name, {**self._options, **options})
        )


class MethodWithOptions:
    """A method with options of its own: has ``remote``, and no more."""

    def __init__(self, bound: ActorMethod) -> None:
        self._bound = bound

    def remote(self, *args: Any, **kwargs: Any) -> Any:
        """Call the method: see `ActorMethod.remote`."""
        return self._bound.remote(*args, **kwargs)


def find_named_actor(name: str, namespace: str) -> ActorHandle | None:
    """Return a weak handle to an actor, or None."""
    found = global_worker.connected().get_named_actor(name, namespace)
    if found is None:
        return None
    actor_id, state = found
    return ActorHandle(actor_id, MethodTable.from_bytes(state), None)


def current_actor_handle() -> ActorHandle:
    """Return a weak handle to the actor that this thread runs a method of.

    Raises
    ------
    RuntimeError
        Outside of actors.
    """
    core = global_worker.connected()
    actor_id = core.get_current_actor_id()
    actor = global_worker.actors.get(actor_id)
    if actor is None:
        raise RuntimeError("There is no current actor: this is not the method of an actor")
    table = global_worker.function_actor_manager.method_table_of(type(actor))
    return ActorHandle(actor_id, table, None)


def exit_actor() -> None:
    """End the actor, from within one of its methods.

    What was registered with `atexit` runs. The call of the method fails with
    ActorDiedError. The actor is not restarted.

    Raises
    ------
    TypeError
        Outside of an actor's methods.
    """
    core = global_worker.core_worker
    if global_worker.mode != WORKER_MODE or core is None or core.get_current_actor_id().is_nil():
        raise TypeError("exit_actor() can be called in the methods of an actor only")
    leave_actor("exit_actor() was called")
