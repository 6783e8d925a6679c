"""The function table: code goes to the GCS once, and is fetched when first run.

A driver or worker exports each remote function and actor class under a key of its job;
an executor finds it there. Both sides keep what they have seen.
"""

from __future__ import annotations

import os
import pickle
import sys
import threading
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple, cast

from rayc._private.actor_table import MethodTable, system_methods, user_methods
from rayc._private.driver_log import warn
from rayc._private.environment import setting
from rayc._private.serialization_errors import explain_unpicklable
from rayc._raylet import JobID, PythonFunctionDescriptor

if TYPE_CHECKING:
    from rayc._private.worker import Worker

NAMESPACE = "fun"
_POLL_MS = 1000
_WARN_AFTER_S = 10.0
_WARN_BYTES = 10 * 1024 * 1024
_ERROR_MB_DEFAULT = 100


class FunctionExecutionInfo(NamedTuple):
    """What an executor needs to run a function."""

    function: Callable[..., Any]
    function_name: str
    max_calls: int  # the worker leaves after so many runs; 0: never


class FunctionActorManager:
    """Exports and imports the code of remote functions and actor classes.

    Attributes
    ----------
    execution_infos : dict
        FunctionExecutionInfo by the binary FunctionID; the extension looks here first.
    lock : RLock
        Held while unpickling, since what is unpickled may contain remote functions and
        handles that come back here.
    """

    def __init__(self, worker: Worker) -> None:
        self._worker = worker
        self.execution_infos: dict[bytes, FunctionExecutionInfo] = {}
        self.lock = threading.RLock()
        self._actor_classes: dict[bytes, type] = {}
        self._descriptors: dict[type, PythonFunctionDescriptor] = {}

    def clear(self) -> None:
        """Forget everything of a session."""
        self.execution_infos.clear()
        self._actor_classes.clear()
        self._descriptors.clear()

    # Exporting

    def export(
        self, function: Callable[..., Any], descriptor: PythonFunctionDescriptor, max_calls: int
    ) -> None:
        """Put a remote function into the table, unless it is there.

        Raises
        ------
        TypeError
            If it cannot be pickled.
        ValueError
            If it is too large.
        """
        name = descriptor.function_name
        record = {
            "job_id": self._job_id().binary(),
            "function_id": descriptor.function_id.binary(),
            "function_name": name,
            "module": descriptor.module_name,
            "function": self._pickle(function, "remote function", name),
            "collision_identifier": descriptor.function_hash,
            "max_calls": max_calls,
        }
        self._put("RemoteFunction", descriptor, record)

    def export_actor_class(
        self, cls: type, descriptor: PythonFunctionDescriptor, method_names: list[str]
    ) -> None:
        """Put an actor class into the table, unless it is there.

        Raises
        ------
        TypeError
            If it cannot be pickled.
        ValueError
            If it is too large.
        """
        name = descriptor.class_name
        record = {
            "class_name": name,
            "module": descriptor.module_name,
            "class": self._pickle(cls, "actor class", name),
            "job_id": self._job_id().binary(),
            "collision_identifier": descriptor.function_hash,
            "actor_method_names": method_names,
        }
        self._put("ActorClass", descriptor, record)

    def _job_id(self) -> JobID:
        return self._worker.existing().job_id

    def _pickle(self, code: Any, kind: str, name: str) -> bytes:
        from rayc._private import code_pickling  # slow to import, so only when needed

        try:
            data = code_pickling.dumps(code)
        except Exception as error:
            raise TypeError(
                f"The {kind} {name} cannot be sent to workers: {explain_unpicklable(code, error)}"
            ) from error
        limit_mb = float(setting("FUNCTION_SIZE_ERROR_THRESHOLD", str(_ERROR_MB_DEFAULT)))
        if len(data) >= limit_mb * 1024 * 1024:
            raise ValueError(
                f"The {kind} {name} is too large to send: {len(data):,} bytes pickled, and "
                f"{limit_mb:g} MiB (RAYC_FUNCTION_SIZE_ERROR_THRESHOLD) is the limit. {_SIZE_HINT}"
            )
        if len(data) > _WARN_BYTES:
            warn(f"The {kind} {name} is very large: {len(data):,} bytes pickled. {_SIZE_HINT}")
        return data

    def _put(self, kind: str, descriptor: PythonFunctionDescriptor, record: dict[str, Any]) -> None:
        key = _key(kind, self._job_id(), descriptor)
        self._worker.existing().kv_put(key, pickle.dumps(record, 5), NAMESPACE, overwrite=False)

    # Importing

    def get_execution_info(
        self, job_id: JobID, descriptor: PythonFunctionDescriptor
    ) -> FunctionExecutionInfo:
        """Return what runs a task, from here, a local module, or the table."""
        function_id = descriptor.function_id.binary()
        info = self.execution_infos.get(function_id)
        if info is not None:
            return info
        with self.lock:
            if descriptor.function_name == "__init__":
                self.load_actor_class(job_id, descriptor)
            info = self.execution_infos.get(function_id)
            if info is None:
                if descriptor.is_actor_method():
                    raise RuntimeError(
                        f"This worker holds no actor of the class {descriptor.class_name!r} with "
                        f"a method {descriptor.function_name!r}"
                    )
                info = self._load_function(job_id, descriptor)
                self.execution_infos[function_id] = info
        return info

    def _load_function(
        self, job_id: JobID, descriptor: PythonFunctionDescriptor
    ) -> FunctionExecutionInfo:
        name = descriptor.function_name
        local = self._load_local(descriptor.module_name, name)
        if local is not None:
            function = getattr(local, "_function", local)
            return FunctionExecutionInfo(function, name, 0)
        record = self._fetch("RemoteFunction", job_id, descriptor)
        try:
            function = pickle.loads(record["function"])
        except Exception as error:
            function = _raiser(_import_failure("remote function", name, error))
        return FunctionExecutionInfo(function, name, record["max_calls"])

    def load_actor_class(self, job_id: JobID, descriptor: PythonFunctionDescriptor) -> type:
        """Return the class of an actor that is created here, and register its methods."""
        function_id = descriptor.function_id.binary()
        with self.lock:
            cls = self._actor_classes.get(function_id)
            if cls is None:
                cls = self._load_actor_class(job_id, descriptor)
                self._actor_classes[function_id] = cls
                self._descriptors[cls] = descriptor
                self._register_methods(cls, descriptor)
        return cls

    def _load_actor_class(self, job_id: JobID, descriptor: PythonFunctionDescriptor) -> type:
        name = descriptor.class_name
        local = self._load_local(descriptor.module_name, name)
        if local is not None:
            return cast(type, getattr(local, "_class", local))
        record = self._fetch("ActorClass", job_id, descriptor)
        try:
            return cast(type, pickle.loads(record["class"]))
        except Exception as error:
            fail = _raiser(_import_failure("actor class", name, error))
            members = dict.fromkeys(["__init__", *record["actor_method_names"]], fail)
            return type(name, (), {"__module__": descriptor.module_name, **members})

    def _register_methods(self, cls: type, descriptor: PythonFunctionDescriptor) -> None:
        class_name = descriptor.class_name
        short_name = class_name.rpartition(".")[2]
        executors = {**system_methods(), **user_methods(cls)}
        for name, executor in executors.items():
            method = PythonFunctionDescriptor(descriptor.module_name, name, class_name)
            info = FunctionExecutionInfo(executor, f"{short_name}.{name}", 0)
            self.execution_infos[method.function_id.binary()] = info
        creation = FunctionExecutionInfo(cls.__init__, f"{short_name}.__init__", 0)  # type: ignore[misc]
        self.execution_infos[descriptor.function_id.binary()] = creation

    def method_table_of(self, cls: type) -> MethodTable:
        """Return the method table of an actor class that was loaded here."""
        return MethodTable.of_class(cls, self._descriptors[cls])

    def _fetch(
        self, kind: str, job_id: JobID, descriptor: PythonFunctionDescriptor
    ) -> dict[str, Any]:
        key = _key(kind, job_id, descriptor)
        begin = time.monotonic()
        warned = False
        while True:
            data = self._worker.existing().kv_get(key, NAMESPACE, wait_ms=_POLL_MS)
            if data is not None:
                return cast("dict[str, Any]", pickle.loads(data))
            waited_s = time.monotonic() - begin
            if waited_s > _WARN_AFTER_S and not warned:
                warned = True
                print(
                    f"rayc: this worker has waited {waited_s:.0f} s for the code of "
                    f"{descriptor.repr} to appear in the function table.",
                    file=sys.stderr,
                )

    def _load_local(self, module_name: str, qualified_name: str) -> Any:
        """Import by name what the job says is installed here; None: take the table's."""
        if not self._worker.job_settings.get("code_search_path"):
            return None
        import importlib

        try:
            value: Any = importlib.import_module(module_name)
            for part in qualified_name.split("."):
                value = getattr(value, part)
        except (ImportError, AttributeError):
            return None
        return value


_SIZE_HINT = (
    "It probably refers to a large object from outside of it: put() that once, and pass the "
    "reference as an argument."
)


def _key(kind: str, job_id: JobID, descriptor: PythonFunctionDescriptor) -> bytes:
    return f"{kind}:{job_id.hex()}:{descriptor.function_id.hex()}".encode()


def _import_failure(kind: str, name: str, error: Exception) -> str:
    import traceback

    lines = "".join(traceback.format_exception(error))
    return (
        f"The {kind} {name} could not be loaded in the worker (pid {os.getpid()}). Modules that "
        f"it uses must be importable there; the search path is {sys.path}.\n{lines}"
    )


def _raiser(message: str) -> Callable[..., Any]:
    """Return a function that raises, whatever it is called with."""

    def fail(*args: Any, **kwargs: Any) -> Any:
        raise RuntimeError(message)

    return fail
