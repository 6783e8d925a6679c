"""Everything that rayc raises.

The classes form one tree under `RayError`. Many are stored in place of a task's result
and raised again in another process, so each one pickles, keeping its attributes.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Sequence
from typing import Any, cast

__all__ = [
    "ActorAlreadyExistsError",
    "ActorDiedError",
    "ActorHandleNotFoundError",
    "ActorPlacementGroupRemoved",
    "ActorUnavailableError",
    "ActorUnschedulableError",
    "AsyncioActorExit",
    "AuthenticationError",
    "CrossLanguageError",
    "GetTimeoutError",
    "LocalRayletDiedError",
    "NodeDiedError",
    "ObjectFetchTimedOutError",
    "ObjectFreedError",
    "ObjectLostError",
    "ObjectReconstructionFailedError",
    "ObjectRefStreamEndOfStreamError",
    "ObjectStoreFullError",
    "OufOfBandObjectRefSerializationException",
    "OutOfDiskError",
    "OutOfMemoryError",
    "OwnerDiedError",
    "PendingCallsLimitExceeded",
    "PlasmaObjectNotAvailable",
    "RayActorError",
    "RayCgraphCapacityExceeded",
    "RayChannelError",
    "RayChannelTimeoutError",
    "RayDirectTransportError",
    "RayError",
    "RaySystemError",
    "RayTaskError",
    "ReferenceCountingAssertionError",
    "RpcError",
    "RuntimeEnvSetupError",
    "StreamingGeneratorReplayInconsistentError",
    "TaskCancelledError",
    "TaskPlacementGroupRemoved",
    "TaskUnschedulableError",
    "UnserializableException",
    "UserCodeException",
    "WorkerCrashedError",
]


class RayError(Exception):
    """The base of all errors that rayc raises."""


def _restore(cls: type[RayError], args: tuple[Any, ...], state: dict[str, Any]) -> RayError:
    """Make an error again from its attributes, without its constructor."""
    error = cls.__new__(cls)
    error.args = args
    error.__dict__.update(state)
    return error


class _StatefulError(RayError):
    """An error whose attributes do not follow from `args`."""

    def __reduce__(self) -> tuple[Any, ...]:
        return _restore, (type(self), self.args, dict(self.__dict__))


class _MessageError(_StatefulError):
    """An error that says its class's sentence unless it is given another one."""

    default_message = "An error occurred in rayc."

    def __init__(self, message: str | None = None) -> None:
        super().__init__(message or self.default_message)


# Errors of tasks -----------------------------------------------------------------------


class RayTaskError(RayError):
    """The code of a task or an actor's method raised an exception.

    What ``get`` raises is usually an object of a class made by `as_instanceof_cause`,
    which is also of the class that the code raised.

    Parameters
    ----------
    function_name : str
        Of the task, or "Class.method".
    traceback_str : str
        The traceback in the worker, with the frames of this library left out.
    cause : BaseException
        What was raised there.
    proctitle, pid, ip : optional
        The process in which it was raised.
    actor_repr, actor_id : str, optional
        The actor in which it was raised.
    """

    def __init__(
        self,
        function_name: str,
        traceback_str: str,
        cause: BaseException,
        proctitle: str | None = None,
        pid: int | None = None,
        ip: str | None = None,
        actor_repr: str | None = None,
        actor_id: str | None = None,
    ) -> None:
        super().__init__(cause)
        self.function_name = function_name
        self.traceback_str = traceback_str
        self.cause = cause
        self.proctitle = proctitle or f"rayc::{function_name}"
        self.pid = os.getpid() if pid is None else pid
        self.ip = ip
        self.actor_repr = actor_repr
        self.actor_id = actor_id

    def __str__(self) -> str:
        """Return the traceback of the worker."""
        return self.traceback_str

    def __reduce__(self) -> tuple[Any, ...]:
        facts = {name: self.__dict__[name] for name in _TASK_ERROR_FACTS}
        return _restore_task_error, (facts, _dump_exception(self.cause), False)

    def as_instanceof_cause(self) -> RayTaskError:
        """Return this error as one that is also an instance of the cause's class."""
        cause_class = type(self.cause)
        if issubclass(RayTaskError, cause_class) or isinstance(self, _DualError):
            return self
        try:
            dual = _dual_class(cause_class)
            return cast(RayTaskError, dual(self))
        except TypeError as error:
            warnings.warn(
                f"{cause_class.__qualname__}, raised in {self.function_name}(), cannot be a "
                f"base class ({error}): it arrives as a plain RayTaskError, with the "
                "original as its cause",
                RuntimeWarning,
                stacklevel=2,
            )
            return self


_TASK_ERROR_FACTS = (
    "function_name",
    "traceback_str",
    "proctitle",
    "pid",
    "ip",
    "actor_repr",
    "actor_id",
)


class _DualError(RayTaskError):
    """What `as_instanceof_cause` makes: see there."""

    def __new__(cls, error: RayTaskError) -> _DualError:
        # The constructors of the cause's classes have run once, in the worker. Here only
        # the built-in class among them gets a say, as it lays out the object.
        cause = error.cause
        builtin: Any = next(base for base in type(cause).__mro__ if base.__module__ == "builtins")
        arguments: tuple[Any, ...] = ()
        if builtin.__name__.endswith("ExceptionGroup"):  # not there in Python 3.10
            arguments = (cause.message, cause.exceptions)  # type: ignore[attr-defined]
        elif builtin is MemoryError:  # its own makes no objects of other classes
            builtin = BaseException
        instance = builtin.__new__(cls, *arguments)
        # Fields of built-in exceptions (errno, filename, start ...) hide the fallback to
        # the cause's attributes below, so they are copied.
        for base in builtin.__mro__[:-2]:  # without BaseException and object
            for name, member in vars(base).items():
                if hasattr(member, "__set__") and not name.startswith("__"):
                    try:
                        setattr(instance, name, getattr(cause, name))
                    except (AttributeError, TypeError):
                        pass  # read-only, or not set in the cause either
        return cast(_DualError, instance)

    def __init__(self, error: RayTaskError) -> None:
        BaseException.__init__(self, error.cause)
        self.args = (error.cause,)
        self.__dict__.update(error.__dict__)

    def __getattr__(self, name: str) -> Any:
        """Look in the cause for what is not here."""
        cause = self.__dict__.get("cause")
        if cause is None or (name.startswith("__") and name != "__notes__"):
            raise AttributeError(name)
        return getattr(cause, name)

    def __str__(self) -> str:
        return self.traceback_str

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.function_name!r}, {self.cause!r})"

    def __reduce__(self) -> tuple[Any, ...]:
        facts = {name: self.__dict__[name] for name in _TASK_ERROR_FACTS}
        return _restore_task_error, (facts, _dump_exception(self.cause), True)


def _derive_as_cause(self: RayTaskError, excs: Sequence[BaseException]) -> BaseException:
    """Split an exception group as the cause's class does."""
    return cast(BaseException, self.cause.derive(excs))  # type: ignore[attr-defined]


_dual_classes: dict[type[BaseException], type[_DualError]] = {}


def _dual_class(cause_class: type[BaseException]) -> type[_DualError]:
    """Return the class that is both: an error of a task, and of the cause's class."""
    dual = _dual_classes.get(cause_class)
    if dual is None:
        name = f"RayTaskError({cause_class.__name__})"
        # These come before all of the cause's own methods in the order of look-up.
        members: dict[str, Any] = {"__module__": __name__}
        if hasattr(cause_class, "derive"):
            members["derive"] = _derive_as_cause
        dual = type(name, (_DualError, cause_class), members)
        _dual_classes[cause_class] = dual
    return dual


# Python pickles an exception as "call its class with `args`". That fails, or lies, for classes
# whose constructor passes something else to its base.


def _dump_exception(error: BaseException) -> bytes:
    """Pickle an exception so that it surely comes out again, if need be as another one."""
    import cloudpickle

    try:
        if hasattr(error, "exceptions") and hasattr(error, "derive"):  # an exception group
            members = [_dump_exception(one) for one in error.exceptions]
            group = _PickledGroup(type(error), error.message, members, dict(error.__dict__))  # type: ignore[attr-defined]
            return cast(bytes, cloudpickle.dumps(group))
        data: bytes = cloudpickle.dumps(error)
        if "__init__" not in _python_members(type(error)) or _is_faithful(data, error):
            return data
        parts = (type(error), error.args, dict(error.__dict__))
        return cast(bytes, cloudpickle.dumps(_WithoutConstructor(*parts)))
    except Exception as failure:
        text = f"{type(error).__qualname__}: {_safe_str(error)}"
        note = f" (replaced, as the original could not be pickled: {failure})"
        return cast(bytes, cloudpickle.dumps(RayError(text + note)))


def _load_exception(data: bytes) -> BaseException:
    """Return what `_dump_exception` was given; raises whatever unpickling it raises."""
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
        return _restore_without_constructor, self.parts


def _restore_without_constructor(
    cls: type[BaseException], args: tuple[Any, ...], state: dict[str, Any]
) -> BaseException:
    error = cls.__new__(cls, *args)
    error.args = args
    error.__dict__.update(state)
    return error


class _PickledGroup:
    """Pickles to an exception group, each of whose members was pickled on its own."""

    def __init__(self, *parts: Any) -> None:
        self.parts = parts

    def __reduce__(self) -> tuple[Any, ...]:
        return _restore_group, self.parts


def _restore_group(
    cls: Any, message: str, members: Sequence[bytes], state: dict[str, Any]
) -> BaseException:
    exceptions = [_load_exception(member) for member in members]
    error = cls.__new__(cls, message, exceptions)
    error.__dict__.update(state)
    return cast(BaseException, error)


def _safe_str(value: object) -> str:
    try:
        return str(value)
    except Exception as failure:
        return f"<its str() failed: {failure!r}>"


def _restore_task_error(facts: dict[str, Any], cause_data: bytes, dual: bool) -> RayTaskError:
    try:
        cause = _load_exception(cause_data)
    except Exception as error:
        cause = UnserializableException(
            f"The exception raised in {facts['function_name']}() cannot be unpickled here: "
            f"{type(error).__name__}: {error}. Its traceback there:\n{facts['traceback_str']}"
        )
    restored = RayTaskError(cause=cause, **facts)
    return restored.as_instanceof_cause() if dual else restored


class TaskCancelledError(_StatefulError):
    """The task was cancelled, before or while it ran."""

    def __init__(self, task_id: Any = None, error_message: str = "") -> None:
        self.task_id = task_id
        text = "This task or one that it depends on was cancelled."
        if task_id is not None:
            name = task_id if isinstance(task_id, str) else task_id.hex()
            text = f"Task {name} was cancelled."
        super().__init__(f"{text} {error_message}".rstrip())


class WorkerCrashedError(_MessageError):
    """The process that ran the task died, and no retry was left."""

    default_message = "The worker process that ran this task died."


class TaskCancelledByForceError(TaskCancelledError, WorkerCrashedError):
    """The task was cancelled with ``force=True``, which ended its worker process."""


class LocalRayletDiedError(_MessageError):
    """The node manager (raylet) of the calling process died."""

    default_message = "The raylet of this node died."


class OutOfMemoryError(_MessageError):
    """The worker was ended because the node ran out of memory."""

    default_message = "The worker was ended because the node ran out of memory."


class NodeDiedError(_MessageError):
    """The node on which it ran died."""

    default_message = "The node died."


class RuntimeEnvSetupError(_StatefulError):
    """The runtime environment of a task or actor could not be set up."""

    def __init__(self, error_message: str | None = None) -> None:
        self.error_message = error_message
        super().__init__(error_message or "The runtime environment could not be set up.")


class TaskPlacementGroupRemoved(_MessageError):
    """The placement group of the task was removed."""

    default_message = "The placement group that this task ran in was removed."


class TaskUnschedulableError(_StatefulError):
    """No node can ever run the task."""

    def __init__(self, error_message: str = "") -> None:
        self.error_message = error_message
        super().__init__(error_message or "No node can run this task.")


class PendingCallsLimitExceeded(_MessageError):
    """The actor has as many pending calls as its `max_pending_calls` allows."""

    default_message = "The limit of pending calls of this actor is reached."


class GetTimeoutError(_MessageError, TimeoutError):
    """`get` did not have all values within its timeout."""

    default_message = "get() timed out: some objects are not ready yet."


# Errors of actors ----------------------------------------------------------------------


class RayActorError(_StatefulError):
    """A call of an actor failed because of the actor, not of the method's code.

    Attributes
    ----------
    actor_id : str or None
        In hexadecimal.
    error_msg : str
        What happened.
    actor_init_failed : bool
        Whether the constructor raised.
    preempted : bool
        Whether its node was taken away.
    """

    base_error_msg = "The actor died unexpectedly before finishing this task."

    def __init__(
        self,
        actor_id: str | None = None,
        error_msg: str | None = None,
        actor_init_failed: bool = False,
        preempted: bool = False,
    ) -> None:
        self.actor_id = actor_id
        self.error_msg = error_msg or self.base_error_msg
        self.actor_init_failed = actor_init_failed
        self.preempted = preempted
        super().__init__(self.error_msg)


class ActorDiedError(RayActorError):
    """The actor is dead for good.

    Parameters
    ----------
    cause : RayTaskError or str, optional
        What the constructor raised, or a text that says how the actor ended.
    actor_id : str, optional
        In hexadecimal.
    """

    def __init__(
        self,
        cause: RayTaskError | str | None = None,
        actor_id: str | None = None,
        preempted: bool = False,
    ) -> None:
        if isinstance(cause, RayTaskError):
            super().__init__(
                actor_id=actor_id or cause.actor_id,
                error_msg=f"The actor died because its constructor raised:\n{cause}",
                actor_init_failed=True,
            )
            self.__cause__ = cause
        else:
            super().__init__(actor_id=actor_id, error_msg=cause, preempted=preempted)


class ActorUnavailableError(RayActorError):
    """The actor cannot be reached now, or is restarting; the call may have run or not."""

    def __init__(self, error_message: str = "", actor_id: Any = None) -> None:
        name = actor_id.hex() if isinstance(actor_id, bytes) else actor_id
        text = (
            f": {error_message}" if error_message else ", and it is unknown whether the call ran."
        )
        super().__init__(actor_id=name, error_msg=f"The actor is unavailable now{text}")


class ActorPlacementGroupRemoved(_MessageError):
    """The placement group of the actor was removed."""

    default_message = "The placement group of this actor was removed."


class ActorUnschedulableError(_StatefulError):
    """No node can ever hold the actor."""

    def __init__(self, error_message: str = "") -> None:
        self.error_message = error_message
        super().__init__(error_message or "No node can hold this actor.")


class AsyncioActorExit(RayError):
    """Ends an asyncio actor from within (internal)."""


class ActorAlreadyExistsError(ValueError, RayError):
    """Another living actor of the namespace has this name."""


class ActorHandleNotFoundError(ValueError, RayError):
    """The handle belongs to an earlier session."""


# Errors of objects ---------------------------------------------------------------------


class ObjectLostError(_StatefulError):
    """No copy of the object is left.

    Attributes
    ----------
    object_ref_hex : str
        Of the object.
    owner_address : bytes
        The process that owned it.
    call_site : str
        Where the reference was made, if that was recorded.
    """

    reason_text = "all copies of it are lost"

    def __init__(
        self, object_ref_hex: str = "", owner_address: bytes = b"", call_site: str = ""
    ) -> None:
        self.object_ref_hex = object_ref_hex
        self.owner_address = owner_address
        self.call_site = call_site
        name = f"object {object_ref_hex}" if object_ref_hex else "the object"
        text = f"Failed to retrieve {name}: {self.reason_text}."
        if call_site:
            text += f" Its reference was made at {call_site}."
        super().__init__(text)


class ObjectFetchTimedOutError(ObjectLostError):
    """No copy of the object could be found in time."""

    reason_text = "no copy of it was found in time"


class ReferenceCountingAssertionError(ObjectLostError, AssertionError):
    """The object was deleted while references to it existed (an internal error)."""

    reason_text = "it was deleted although references to it exist"


class ObjectFreedError(ObjectLostError):
    """The object was freed explicitly."""

    reason_text = "it was freed explicitly"


class OwnerDiedError(ObjectLostError):
    """The process that owned the object died."""

    reason_text = "the process that owned it (which called .remote() or put() to make it) has died"


class ObjectReconstructionFailedError(ObjectLostError):
    """The object is lost, and could not be made again.

    Attributes
    ----------
    reason : str
        Why not.
    """

    reason_text = "it is lost and could not be made again"

    def __init__(
        self,
        object_ref_hex: str = "",
        reason: str = "",
        owner_address: bytes = b"",
        call_site: str = "",
    ) -> None:
        super().__init__(object_ref_hex, owner_address, call_site)
        self.reason = reason
        if reason:
            self.args = (f"{self.args[0]} Reason: {reason}",)


class ObjectStoreFullError(_MessageError):
    """The object store has no room for the object."""

    default_message = "The object store is full."


class OutOfDiskError(_MessageError):
    """The disk that holds the session is full."""

    default_message = "The disk that holds the session folder is full."


class PlasmaObjectNotAvailable(_MessageError):
    """The object is not in the local store (internal)."""

    default_message = "The object is not in the local store."


class ObjectRefStreamEndOfStreamError(RayError):
    """A stream of references has ended (internal)."""


class OufOfBandObjectRefSerializationException(RayError):
    """A reference was pickled outside of a task's arguments, results and `put`."""


class UnserializableException(RayError):
    """Stands for an exception that cannot be unpickled in this process."""


class UserCodeException(RayError):
    """User code that runs inside the runtime raised."""


# Errors of the system ------------------------------------------------------------------


class RaySystemError(_StatefulError):
    """The runtime is not initialised, or failed."""

    def __init__(self, client_exc: Any = "", traceback_str: str | None = None) -> None:
        self.client_exc = client_exc
        self.traceback_str = traceback_str
        super().__init__(f"System error: {client_exc}")

    def __reduce__(self) -> tuple[Any, ...]:
        state = {**self.__dict__, "client_exc": str(self.client_exc)}  # which may be anything
        return _restore, (type(self), self.args, state)


class StreamingGeneratorReplayInconsistentError(RaySystemError):
    """A retried generator yielded another number of items than before."""


class RayChannelError(RaySystemError):
    """A channel failed."""


class RayChannelTimeoutError(RayChannelError, TimeoutError):
    """A channel timed out."""


class RayCgraphCapacityExceeded(RaySystemError):
    """A compiled graph has too much in flight."""


class RayDirectTransportError(RaySystemError):
    """A direct transport of tensors failed."""


class RpcError(_StatefulError):
    """A request to another process failed."""

    def __init__(self, message: str = "", rpc_code: int | None = None) -> None:
        self.message = message
        self.rpc_code = rpc_code
        super().__init__(message)


class AuthenticationError(RayError):
    """The other side does not accept this process's credentials."""


class CrossLanguageError(RayError):
    """An error of another language's worker."""
