"""Remote functions: what the decorator ``@rayc.remote`` makes of a function."""

from __future__ import annotations

import functools
import os
import threading
from collections.abc import Callable
from typing import Any

from rayc._private.actor_table import (
    num_returns_of,
    retry_exception_types_of,
    retry_exceptions_of,
)
from rayc._private.options import (
    check_task_options,
    default_max_retries,
    max_calls_of,
    refuse_what_is_not_there,
    task_demand,
)
from rayc._private.signature import Signature, is_async, is_generator
from rayc._private.worker import global_worker
from rayc._raylet import PythonFunctionDescriptor, SubmitOptions
from rayc.placement import strategy_of

__all__ = ["RemoteFunction"]


class RemoteFunction:
    """A function that runs as a task.

    Made by the decorator ``remote``. Call it with ``.remote(...)``; ``.options(...)``
    returns a variant of it with other options.
    """

    # Assigned in __init__, so that they carry the function's own signature and doc.
    remote: Callable[..., Any]

    def __init__(self, function: Callable[..., Any], options: dict[str, Any]) -> None:
        name = getattr(function, "__qualname__", repr(function))
        if is_async(function):
            raise ValueError(
                f"{name} is an async function, which cannot be a task: only actors have async "
                "methods. Make it a plain function that calls asyncio.run()"
            )
        self._generates = is_generator(function)
        check_task_options(options, generates=self._generates, in_call=False)
        self._function = function
        self._options = options
        self._signature = Signature.of(function, name)
        self._uuid = os.urandom(16).hex()
        self._exported_to: tuple[str, bytes] | None = None
        self._descriptor = PythonFunctionDescriptor.from_function(function, self._uuid)
        self._set_up()

    def _set_up(self) -> None:
        self._lock = threading.RLock()
        functools.update_wrapper(self, self._function, updated=())
        self.remote = _Call(self, self._options).remote

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Refuse: the function of a task is called with ``.remote()``."""
        name = self._descriptor.function_name
        raise TypeError(
            f"Remote functions cannot be called directly: use {name}.remote(...) for a task, or "
            f"{name}._function(...) to run it here"
        )

    def __repr__(self) -> str:
        return f"<rayc.RemoteFunction {self._descriptor.function_name}>"

    def options(self, **options: Any) -> OptionsWrapper:
        """Return this function with other options; it stays as it is.

        Parameters
        ----------
        **options
            As for the decorator ``remote``.

        Returns
        -------
        OptionsWrapper
            It has a method ``remote``.
        """
        check_task_options(options, generates=self._generates, in_call=True)
        return OptionsWrapper(_Call(self, {**self._options, **options}).remote)

    def _export(self) -> None:
        """Put the code into the function table of the session, if it is not there yet."""
        core = global_worker.connected()
        here = (global_worker.session_name, core.job_id.binary())
        with self._lock:
            if self._exported_to == here:
                return
            # Set first: a function that calls itself is pickled with this very object, whose
            # copy in the worker then knows that it need not export it again.
            before, self._exported_to = self._exported_to, here
            try:
                global_worker.function_actor_manager.export(
                    self._function, self._descriptor, max_calls_of(self._options)
                )
            except BaseException:
                self._exported_to = before
                raise

    def __getstate__(self) -> dict[str, Any]:
        names = ("_function", "_options", "_signature", "_uuid", "_exported_to", "_generates")
        state = {name: self.__dict__[name] for name in names}
        state["_descriptor"] = self._descriptor.to_message()
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        # The function may not be complete yet, if it refers to this object.
        self.__dict__.update(state)
        self._descriptor = PythonFunctionDescriptor.from_message(state["_descriptor"])
        self._set_up()


class OptionsWrapper:
    """A remote function with options of its own: has ``remote``, and no more."""

    def __init__(self, remote: Callable[..., Any]) -> None:
        self.remote = remote


class _Call:
    """One remote function with one set of options.

    Keeps what its calls share in a session, so that a call does little more than hand
    the arguments to the core worker.
    """

    def __init__(self, function: RemoteFunction, options: dict[str, Any]) -> None:
        self._function = function
        self._options = options
        self._generation = 0
        self._submit_options: SubmitOptions | None = None
        self.remote = self._make_remote()

    def _prepare(self) -> SubmitOptions:
        """Make ready for the session of now; start one if there is none."""
        function, options = self._function, self._options
        global_worker.connected()
        name = function._descriptor.function_name
        refuse_what_is_not_there(options, f"{name}()")
        demand = task_demand(options)
        submit_options = SubmitOptions(
            function._descriptor,
            name=options.get("name") or "",
            num_returns=num_returns_of(options, function._generates, name),
            resources=demand.held,
            placement_resources=demand.placement,
            max_retries=options.get("max_retries", default_max_retries()),
            retry_exceptions=retry_exceptions_of(options),
            strategy=strategy_of(options, demand, f"{name}()"),
            retry_exception_types=retry_exception_types_of(options),
            runtime_env=global_worker.runtime_env_of_call(options),
        )
        generation = global_worker.generation
        function._export()
        self._submit_options = submit_options
        self._generation = generation
        return submit_options

    def _make_remote(self) -> Callable[..., Any]:
        # A closure: the arguments reach the extension through this one Python frame.
        signature = self._function._signature
        minimum, maximum = signature.minimum, signature.maximum
        worker = global_worker

        def remote(*args: Any, **kwargs: Any) -> Any:
            if kwargs or not minimum <= len(args) <= maximum:
                signature.check(args, kwargs)
            if self._generation == worker.generation and self._generation:
                options = self._submit_options
            else:
                options = self._prepare()
            core = worker.core_worker
            if core is None or options is None:  # shut down by another thread just now
                return remote(*args, **kwargs)
            if kwargs:
                refs = core.submit_task(options, (*args, *kwargs.values()), tuple(kwargs))
            else:
                refs = core.submit_task(options, args, ())
            if len(refs) == 1:
                return refs[0]
            return refs or None

        function = self._function._function
        functools.update_wrapper(remote, function, updated=())
        return remote
