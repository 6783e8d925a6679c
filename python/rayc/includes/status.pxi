# The only place where a Status becomes a Python exception.

# What a signal handler raised while a call was blocked in C++; that call raises it again when it
# returns. Handlers run in the main thread alone, so there is at most one.
cdef object interrupt_error = None


cdef CStatus check_signals() noexcept nogil:
    """The bridge's: runs the signal handlers of Python."""
    if not OnMainThread():
        return CStatus()
    with gil:
        return run_signal_handlers()


cdef CStatus run_signal_handlers() noexcept:
    global interrupt_error
    try:
        PyErr_CheckSignals()
    except BaseException as error:
        interrupt_error = error
        return CStatus(CStatusCode.kInterrupted, string(b"a signal handler raised"))
    return CStatus()


cdef inline int check_status(const CStatus& status) except -1:
    if not status.ok():
        raise_status(status)
    return 0


cdef int raise_status(const CStatus& status) except -1:
    global interrupt_error
    if status.code() == CStatusCode.kInterrupted and interrupt_error is not None:
        error = interrupt_error
        interrupt_error = None
        raise error
    raise error_of(status.code(), to_str(status.message()), None, None)


cdef object error_of(CStatusCode code, str text, str actor_id, str object_id):
    """The exception for a failure; `actor_id`, `object_id`: of what failed (hex), if any."""
    module = exceptions_module()
    if code == CStatusCode.kInvalidArgument or code == CStatusCode.kNotFound:
        return ValueError(text)
    if code == CStatusCode.kAlreadyExists:
        return module.ActorAlreadyExistsError(text)
    if code == CStatusCode.kTimedOut:
        return module.GetTimeoutError(text)
    if code == CStatusCode.kIOError:
        return OSError(text)
    if code == CStatusCode.kOutOfMemory:
        return module.ObjectStoreFullError(text)
    if code == CStatusCode.kOutOfDisk:
        return module.OutOfDiskError(text)
    if code == CStatusCode.kOwnerDied:
        return with_text(module.OwnerDiedError(object_id or ""), text)
    if code == CStatusCode.kObjectLost:
        return with_text(module.ObjectLostError(object_id or ""), text)
    if code == CStatusCode.kActorDied:
        return module.ActorDiedError(text, actor_id)
    if code == CStatusCode.kActorUnavailable:
        return module.ActorUnavailableError(text, actor_id)
    if code == CStatusCode.kWorkerCrashed:
        return module.WorkerCrashedError(text)
    if code == CStatusCode.kUnschedulable:
        if actor_id is not None:
            return module.ActorUnschedulableError(text)
        return module.TaskUnschedulableError(text)
    if code == CStatusCode.kPlacementGroupRemoved:
        if actor_id is not None:
            return module.ActorPlacementGroupRemoved(text)
        return module.TaskPlacementGroupRemoved(text)
    if code == CStatusCode.kCancelled:
        return module.TaskCancelledError(None, text)
    if code == CStatusCode.kCancelledByForce:
        return module.TaskCancelledByForceError(None, text)
    if code == CStatusCode.kRuntimeEnvSetup:
        return module.RuntimeEnvSetupError(text)
    if code == CStatusCode.kVersionMismatch:
        return RuntimeError(text)
    if code == CStatusCode.kUnauthenticated:
        return module.AuthenticationError(text)
    if code == CStatusCode.kNotImplemented:
        return NotImplementedError(text)
    if code == CStatusCode.kDisconnected and current_core != NULL and not current_core.connected():
        return module.LocalRayletDiedError(text)
    return module.RaySystemError(text)


cdef object with_text(object error, str text):
    """Let an error of a lost object say what is known about it."""
    if text:
        error.args = (text,)
    return error
