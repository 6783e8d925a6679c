"""The calls that a program is written with: `init`, `remote`, `get`, `put`, `wait` ..."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Sequence
from typing import Any, TypeVar, overload

from rayc import exceptions
from rayc._private import driver_log
from rayc._private.options import check_namespace
from rayc._private.signature import is_async
from rayc._private.worker import global_worker, in_worker, is_initialized
from rayc._raylet import CoreWorker, ObjectRef
from rayc.actor import ActorClass, ActorHandle, find_named_actor
from rayc.context import RaycContext
from rayc.job_config import JobConfig
from rayc.remote_function import RemoteFunction

__all__ = [
    "cancel",
    "get",
    "get_actor",
    "init",
    "is_initialized",
    "kill",
    "put",
    "remote",
    "shutdown",
    "wait",
]

T = TypeVar("T")

# The session -----------------------------------------------------------------------------

_exit_hooks_installed = False
_sigterm_is_ours = False


def init(
    address: str | None = None,
    *,
    num_cpus: int | None = None,
    num_gpus: int | None = None,
    resources: dict[str, float] | None = None,
    labels: dict[str, str] | None = None,
    object_store_memory: int | None = None,
    local_mode: bool = False,
    ignore_reinit_error: bool = False,
    include_dashboard: bool | None = None,
    dashboard_host: str = "127.0.0.1",
    dashboard_port: int | None = None,
    job_config: JobConfig | None = None,
    configure_logging: bool = True,
    logging_level: int | str = "info",
    logging_format: str | None = None,
    logging_config: Any = None,
    log_to_driver: bool | None = None,
    namespace: str | None = None,
    runtime_env: dict[str, Any] | None = None,
    enable_resource_isolation: bool = False,
    cgroup_path: str | None = None,
    system_reserved_cpu: float | None = None,
    system_reserved_memory: int | None = None,
    proxy_server_url: str | None = None,
    **hidden: Any,
) -> RaycContext:
    """Start a private cluster on this machine, or join one, and connect to it as a driver.

    Called by itself when the first task, actor or object is made without it.

    Parameters
    ----------
    address : str, optional
        "local" or nothing: a new private cluster. A path: the session's folder of a driver
        that runs on this machine, or its socket there, as in ``address_info["address"]``:
        that cluster is joined, and lives as long as the driver that has started it. To join
        clusters of other machines is not possible yet. The variable RAYC_ADDRESS is the
        default.
    num_cpus, num_gpus : int, optional
        How many to give out; by default as many as this process may use.
    resources : dict, optional
        Further resources of any names, in whole numbers.
    object_store_memory : int, optional
        Size of the object store in bytes; by default 30 % of the free memory.
    ignore_reinit_error : bool
        If there is a session already, return it instead of raising.
    job_config : JobConfig, optional
        Settings of the job.
    configure_logging, logging_level, logging_format
        For rayc's own messages.
    log_to_driver : bool, optional
        Whether to print what tasks and actors print; by default yes, unless the variable
        RAYC_LOG_TO_DRIVER is 0.
    namespace : str, optional
        Where the names of actors count; by default a new one.
    runtime_env : dict, optional
        The workers' environment: see `rayc.runtime_env.RuntimeEnv`.
    labels, local_mode, include_dashboard, dashboard_host, dashboard_port, logging_config, \
enable_resource_isolation, cgroup_path, system_reserved_cpu, system_reserved_memory, \
proxy_server_url
        Of no use yet: what would change the program's meaning raises NotImplementedError,
        the rest is said in a warning.

    Returns
    -------
    RaycContext
        With `address_info`; usable in a ``with`` statement.

    Raises
    ------
    RuntimeError
        If there is a session already, or for an unknown argument.
    """
    from rayc._private import addresses
    from rayc._private import init_arguments as arguments

    arguments.check_hidden(hidden)
    with global_worker.lock:
        global_worker.check_not_forked()
        if is_initialized():
            return _second_init(ignore_reinit_error)
        driver_log.configure(configure_logging, logging_level, logging_format)
        directory = addresses.session_of(address)
        arguments.refuse_missing_features(
            local_mode=local_mode,
            labels=labels,
            logging_config=logging_config,
            enable_resource_isolation=enable_resource_isolation,
            cgroup_path=cgroup_path,
            system_reserved_cpu=system_reserved_cpu,
            system_reserved_memory=system_reserved_memory,
            proxy_server_url=proxy_server_url,
        )
        if include_dashboard or dashboard_port is not None:
            driver_log.warn("rayc has no dashboard yet: include_dashboard has no effect")
        from rayc._private.session import DriverOptions, Session

        if directory is not None:
            arguments.refuse_when_joining(
                num_cpus=num_cpus,
                num_gpus=num_gpus,
                resources=resources,
                object_store_memory=object_store_memory,
                _memory=hidden.get("_memory"),
                _node_name=hidden.get("_node_name"),
                _system_config=hidden.get("_system_config"),
                cpu_isolation=hidden.get("cpu_isolation"),
                object_spilling_directory=hidden.get("object_spilling_directory"),
            )
        else:
            store_bytes, node_resources = arguments.node_totals(
                num_cpus, num_gpus, resources, object_store_memory, hidden.get("_memory")
            )
        job = arguments.job_settings(job_config, namespace, runtime_env)
        arguments.refuse_variables_read_at_start(job, joining=directory is not None)
        options = DriverOptions(
            job=job,
            log_to_driver=arguments.log_to_driver(log_to_driver),
            package=arguments.job_package(job["runtime_env"]),
        )
        if directory is not None:
            session = Session.join(options, directory)
        else:
            session = Session.start(
                options,
                resources=node_resources,
                object_store_bytes=store_bytes,
                cpu_cores=arguments.cores_to_pin_to(hidden, node_resources),
                spill_folders=arguments.spill_folders(hidden),
                root=arguments.temp_dir(hidden),
            )
        _install_exit_hooks()
        return RaycContext(session.address_info())


def _second_init(ignore_reinit_error: bool) -> RaycContext:
    if not ignore_reinit_error:
        raise RuntimeError(
            "init() was called twice: rayc is running already in this process. Call shutdown() "
            "first, or init(ignore_reinit_error=True) to go on with what is running"
        )
    if global_worker.session is None:
        core = global_worker.connected()
        return RaycContext({"session_dir": core.session_dir, "node_id": core.node_id.hex()})
    driver_log.logger().info("init() was called again: the running session is used")
    return RaycContext(global_worker.session.address_info())


def shutdown(*, wait_for_processes: bool = False) -> None:
    """End the session: all its tasks, actors and objects. Does nothing if there is none.

    Runs by itself at exit. References and handles are of no use afterwards; remote
    functions and actor classes can be used again after another `init`.

    Parameters
    ----------
    wait_for_processes : bool
        Accepted; rayc waits for its processes in any case.
    """
    with global_worker.lock:
        if in_worker():
            driver_log.warn("shutdown() has no effect in a task or actor: it is the driver's call")
            return
        session = global_worker.session
        if session is None:
            return
        try:
            session.end()
        finally:
            _restore_sigterm()


def _install_exit_hooks() -> None:
    """See to it that the session ends with this process, also by SIGTERM."""
    global _exit_hooks_installed, _sigterm_is_ours
    import signal

    if not _exit_hooks_installed:
        import atexit

        atexit.register(shutdown)
        _exit_hooks_installed = True
    if threading.current_thread() is not threading.main_thread():
        driver_log.warn(
            "init() was not called in the main thread, so SIGTERM ends this process without its "
            "exit handlers"
        )
    elif signal.getsignal(signal.SIGTERM) is signal.SIG_DFL:
        # A handler of the user's stays: that program has its own way to end.
        signal.signal(signal.SIGTERM, _exit_at_sigterm)
        _sigterm_is_ours = True


def _exit_at_sigterm(signum: int, frame: Any) -> None:
    sys.exit(128 + signum)


def _restore_sigterm() -> None:
    global _sigterm_is_ours
    if not _sigterm_is_ours or threading.current_thread() is not threading.main_thread():
        return
    import signal

    if signal.getsignal(signal.SIGTERM) is _exit_at_sigterm:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
    _sigterm_is_ours = False


# Tasks and actors ----------------------------------------------------------------------


@overload
def remote(target: type, /) -> ActorClass: ...  # type: ignore[overload-overlap]


@overload
def remote(target: Callable[..., Any], /) -> RemoteFunction: ...


@overload
def remote(**options: Any) -> Callable[[Any], Any]: ...


def remote(*args: Any, **options: Any) -> Any:
    """Make a function remote, or a class one of actors.

    Used as a decorator, with or without options, or called with the function or class.

    Parameters
    ----------
    **options
        Of tasks: ``num_cpus``, ``num_gpus``, ``resources``, ``memory``, ``num_returns``,
        ``max_retries``, ``retry_exceptions``, ``max_calls``, ``name`` and others. Of
        actors: ``num_cpus``, ``num_gpus``, ``resources``, ``memory``, ``name``,
        ``namespace``, ``lifetime``, ``get_if_exists``, ``max_restarts``,
        ``max_task_retries``, ``max_concurrency`` and others.

    Returns
    -------
    RemoteFunction, ActorClass, or a decorator

    Examples
    --------
    >>> @rayc.remote
    ... def square(x):
    ...     return x * x
    >>> rayc.get(square.remote(3))
    9
    >>> @rayc.remote(num_cpus=2)
    ... class Counter:
    ...     pass
    """
    if len(args) == 1 and not options and callable(args[0]):
        return _make_remote(args[0], {})
    if args or not options:
        given = f", not {args[0]!r}" if args else ""
        raise AssertionError(
            "@rayc.remote is used without arguments, or with options as keywords, as in "
            f"@rayc.remote(num_cpus=2); it is applied to a function or class{given}"
        )
    return lambda target: _make_remote(target, options)


_FUNCTION_KINDS = ("function", "builtin_function_or_method", "cython_function_or_method")


def _make_remote(target: Any, options: dict[str, Any]) -> RemoteFunction | ActorClass:
    if isinstance(target, type):
        return ActorClass(target, options)
    if type(target).__name__ in _FUNCTION_KINDS or is_async(target):
        return RemoteFunction(target, options)
    if isinstance(target, (RemoteFunction, ActorClass)):
        raise TypeError(f"{target!r} is remote already; use .options() to change its options")
    raise TypeError(
        f"@rayc.remote is applied to a function or a class, not to {target!r} "
        f"(of type {type(target).__qualname__})"
    )


def get_actor(name: str, namespace: str | None = None) -> ActorHandle:
    """Return a handle to an actor that was created with the option ``name``.

    The handle is weak: it does not keep the actor alive.

    Parameters
    ----------
    name : str
        The actor's name.
    namespace : str, optional
        By default that of this job.

    Raises
    ------
    ValueError
        If no living actor has that name.
    """
    if not isinstance(name, str) or not name:
        raise ValueError(f"The name of an actor must be a string that is not empty, not {name!r}")
    if namespace is not None:
        check_namespace(namespace)
    global_worker.connected()
    namespace = namespace or global_worker.namespace
    handle = find_named_actor(name, namespace)
    if handle is None:
        raise ValueError(f"There is no actor named {name!r} in the namespace {namespace!r}")
    return handle


def kill(actor: ActorHandle, *, no_restart: bool = True) -> None:
    """End an actor's process at once.

    What it runs, and all its further calls, fail with ActorDiedError.

    Parameters
    ----------
    actor : ActorHandle
        Any handle of it.
    no_restart : bool
        If False, it may start again, as its option ``max_restarts`` allows.
    """
    if not isinstance(actor, ActorHandle):
        raise ValueError(f"kill() takes the handle of an actor, not {_describe(actor)}")
    stale = actor._stale_message()
    if stale is not None:
        global_worker.check_not_forked()
        raise exceptions.ActorHandleNotFoundError(stale)
    global_worker.connected().kill_actor(actor._actor_id, no_restart)


def cancel(ref: ObjectRef[Any], *, force: bool = False, recursive: bool = True) -> None:
    """Cancel a task, or the call of an actor.

    What has not begun never will. A task that runs gets a KeyboardInterrupt, the coroutine
    of an asyncio actor a CancelledError; other calls of actors are not interrupted, but can
    look at ``get_runtime_context().is_canceled()``. What has ended stays as it is. `get`
    then raises TaskCancelledError, unless the code of a task went on all the same, or that of
    a call that is not interrupted raised an error of its own.

    Parameters
    ----------
    ref : ObjectRef
        What the task returns. It need not be of this process.
    force : bool
        End the process that runs the task; what `get` raises is a WorkerCrashedError as well.
    recursive : bool
        Also cancel the tasks that it has started.

    Raises
    ------
    ValueError
        If `force` is given for the call of an actor.
    """
    if not isinstance(ref, ObjectRef):
        raise TypeError(f"cancel() takes a reference, not {_describe(ref)}")
    _core_for([ref]).cancel_task(ref, force, recursive)


# Objects -------------------------------------------------------------------------------


@overload
def get(refs: ObjectRef[T], *, timeout: float | None = None, copy: bool = False) -> T: ...


@overload
def get(
    refs: Sequence[ObjectRef[T]], *, timeout: float | None = None, copy: bool = False
) -> list[T]: ...


def get(refs: Any, *, timeout: float | None = None, copy: bool = False) -> Any:
    """Return the value of a reference, or the values of a list of them.

    Waits until they are there. Large arrays are not copied, and therefore read-only.

    Parameters
    ----------
    refs : ObjectRef or list of ObjectRef
        What to get.
    timeout : float, optional
        Seconds to wait at most; 0 looks once; None or -1 waits for ever.
    copy : bool
        Return arrays that can be written to: copies that belong to the caller alone.

    Raises
    ------
    GetTimeoutError
        If not all is there in time.
    RayTaskError
        If a task raised: an error that is also of the class that was raised.
    """
    core = global_worker.core_worker
    timeout_ms = -1 if timeout is None else _timeout_ms(timeout)
    if type(refs) is ObjectRef:
        value = (core or _core_for(refs)).get((refs,), timeout_ms, copy)[0]
    elif isinstance(refs, list):
        if refs and set(map(type, refs)) != {ObjectRef}:
            _check_refs("get", refs)
        value = (core or _core_for(refs)).get(refs, timeout_ms, copy)
    elif isinstance(refs, ObjectRef):
        value = (core or _core_for(refs)).get((refs,), timeout_ms, copy)[0]
    else:
        raise ValueError(f"get() takes a reference or a list of references, not {_describe(refs)}")
    return value


def _core_for(refs: Any) -> CoreWorker:
    """Return the core worker for a call with references, some of which exist."""
    if global_worker.core_worker is None and refs:
        global_worker.check_not_forked()
        if global_worker.session_name:
            first = refs[0] if isinstance(refs, list) else refs
            global_worker.check_session_of(f"{first!r}", global_worker.session_name)
    return global_worker.connected()


def _check_refs(call: str, refs: list[Any]) -> None:
    for index, ref in enumerate(refs):
        if not isinstance(ref, ObjectRef):
            raise TypeError(
                f"{call}() takes references only, and element {index} of the list is "
                f"{_describe(ref)}"
            )


def _timeout_ms(timeout: Any) -> int:
    """Return a timeout in milliseconds; -1 for ever."""
    if isinstance(timeout, bool) or not isinstance(timeout, (int, float)):
        raise TypeError(f"timeout must be a number of seconds or None, not {timeout!r}")
    if timeout == -1:
        return -1
    if not timeout >= 0:
        raise ValueError(f"timeout must not be negative (but for -1: for ever), and is {timeout!r}")
    milliseconds = timeout * 1000
    if milliseconds > 1 << 60:
        return -1
    return max(1, int(milliseconds)) if milliseconds > 0 else 0


def _describe(value: Any) -> str:
    text = repr(value)
    if len(text) > 80:
        text = text[:77] + "..."
    return f"{text} (of type {type(value).__qualname__})"


def put(value: T, *, _owner: ActorHandle | None = None) -> ObjectRef[T]:
    """Store a value, and return a reference to it.

    Parameters
    ----------
    value : object
        Any value that can be pickled, except a reference.

    Raises
    ------
    TypeError
        If it cannot be stored.
    ObjectStoreFullError
        If there is no room for it.
    """
    if isinstance(value, ObjectRef):
        raise TypeError(
            "put() cannot store a reference on its own: pass it on as it is, or store [reference]"
        )
    if _owner is not None:
        if not isinstance(_owner, ActorHandle):
            raise ValueError(f"_owner must be the handle of an actor, not {_describe(_owner)}")
        raise NotImplementedError("put(_owner=...) is not there yet")
    core = global_worker.core_worker
    return (core if core is not None else global_worker.connected()).put(value)


def wait(
    refs: list[ObjectRef[T]],
    *,
    num_returns: int = 1,
    timeout: float | None = None,
    fetch_local: bool = True,
) -> tuple[list[ObjectRef[T]], list[ObjectRef[T]]]:
    """Wait until some of the objects are there.

    Parameters
    ----------
    refs : list of ObjectRef
        Each once.
    num_returns : int
        How many to wait for.
    timeout : float, optional
        Seconds to wait at most; 0 looks once; None waits for ever.
    fetch_local : bool
        Whether an object counts only when it is on this node.

    Returns
    -------
    ready : list of ObjectRef
        At most `num_returns` that are there, in the order of `refs`. Those whose task
        failed are there too.
    rest : list of ObjectRef
        The others, in the same order.
    """
    if not isinstance(refs, list):
        hint = ": put it into a list" if isinstance(refs, ObjectRef) else ""
        raise TypeError(f"wait() takes a list of references, not {_describe(refs)}{hint}")
    timeout_ms = -1
    if timeout is not None:
        if isinstance(timeout, (int, float)) and timeout < 0:
            raise ValueError(f"timeout must not be negative, and is {timeout!r}")
        timeout_ms = _timeout_ms(timeout)
    if isinstance(num_returns, bool) or not isinstance(num_returns, int):
        raise TypeError(f"num_returns must be an integer, not {num_returns!r}")
    if not refs:
        return [], []
    if num_returns <= 0:
        raise ValueError(f"num_returns must be at least 1, and is {num_returns}")
    if num_returns > len(refs):
        raise ValueError(
            f"num_returns must be at most the number of references ({len(refs)}), "
            f"and is {num_returns}"
        )
    core = global_worker.core_worker or _core_for(refs)
    parts = core.wait(refs, num_returns, timeout_ms, bool(fetch_local))
    if parts is None:
        _check_refs("wait", refs)
        raise TypeError("wait() takes a list of references")
    return parts
