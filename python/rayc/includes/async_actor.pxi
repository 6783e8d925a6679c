# Asyncio actors: their calls are taken by the event loop itself, in its own thread (see
# _private/event_loop.py), and end when their coroutines do. Any number of calls takes turns in that
# one thread, so a context variable says which of them is at work; the core worker, which goes by
# threads, is told before it is asked for anything that depends on it.

cdef bint is_async_actor = False
cdef object current_call = None  # the context variable, of AsyncCall
cdef object event_loop = None    # EventLoopThread
cdef dict async_calls = {}       # AsyncCall by the binary id of its task, while its coroutine runs
cdef bint has_warned_of_get = False

cdef int CALLS_PER_TURN = 64  # taken before others in the loop have their turn


@cython.final
cdef class AsyncCall:
    """A call of the actor, from its arrival to its reply."""

    cdef shared_ptr[CTaskContext] context
    cdef TaskCode code
    cdef object task  # asyncio's

    def finish(self, task):
        """The callback of asyncio's task."""
        cdef CTaskResult result
        cdef const CTaskSpec* spec = self.context.get().spec.get()
        self.task = None
        async_calls.pop(task_key(spec.task_id), None)
        if task.cancelled() or IsCancelled(deref(self.context)):
            cancelled(spec, self.code, &result)  # also if its code has swallowed that
        else:
            error = task.exception()
            if error is None:
                finish_with_value(self, task.result(), &result)
            else:
                finish_with_error(self, error, &result)
        reply_to(self, &result)


cdef bytes task_key(const CTaskId& id):
    return PyBytes_FromStringAndSize(<const char*>id.data(), 24)


cdef CTaskContext* current_task() except? NULL:
    """What this thread or coroutine executes now; NULL if nothing."""
    if not is_async_actor:
        return CurrentTask()
    call = current_call.get()
    if call is None:
        return NULL
    return (<AsyncCall>call).context.get()


cdef inline int declare_task() except -1:
    """Let the core worker know what this thread executes now."""
    if is_async_actor:
        SetCurrentTask(current_task())
    return 0


cdef int construct_in_event_loop(TaskCode code, object cls, object actor_id, list args,
                                 dict kwargs) except -1:
    """Start the event loop, and make the actor there. Returns the loop's doorbell."""
    global is_async_actor, current_call, event_loop
    import contextvars

    from rayc._private.event_loop import EventLoopThread

    cdef AsyncCall call = AsyncCall.__new__(AsyncCall)
    call.code = code
    call.context = CurrentTaskShared()
    current_call = contextvars.ContextVar("rayc_current_call", default=None)
    event_loop = EventLoopThread(take_async_calls)
    is_async_actor = True
    context = contextvars.copy_context()
    context.run(current_call.set, call)
    event_loop.run(context, construct, cls, actor_id, args, kwargs)
    return event_loop.doorbell


def take_async_calls():
    """Start the calls that wait, and cancel what is to be cancelled. Returns whether more may wait."""
    cdef CTaskExecution execution
    cdef shared_ptr[CTaskContext] context
    cdef c_bool taken = False
    cdef int i
    cdef CCoreWorker* core = current_core
    if core == NULL:
        return False  # shut down
    for i in range(CALLS_PER_TURN):
        SetCurrentTask(NULL)
        with nogil:
            taken = core.TakeAsyncCall(&execution, &context)
        if not taken:
            break
        start_async_call(execution, context)
    cancel_async_calls(core)
    return taken


cdef int cancel_async_calls(CCoreWorker* core) except -1:
    cdef vector[CTaskId] ids = core.TakeCancelled()
    cdef size_t i
    for i in range(ids.size()):
        call = async_calls.get(task_key(ids[i]))
        if call is not None:
            (<AsyncCall>call).task.cancel()
    return 0


cdef int start_async_call(const CTaskExecution& execution,
                          shared_ptr[CTaskContext] context) except -1:
    """Run a method, or the first step of its coroutine."""
    cdef CTaskResult result
    cdef const CTaskSpec* spec = execution.spec.get()
    cdef AsyncCall call = AsyncCall.__new__(AsyncCall)
    call.context = context
    SetCurrentTask(context.get())
    try:
        call.code = task_code_of(spec.function)
        if not pass_on_argument_errors(execution, &result):
            value = call_method(call, execution)
            if type(value) is AsyncCall:
                return 0  # it has a coroutine, which says when it is done
            finish_with_value(call, value, &result)
    except BaseException as error:
        finish_with_error(call, error, &result)
    reply_to(call, &result)
    return 0


cdef object call_method(AsyncCall call, const CTaskExecution& execution):
    """Return what the method returns; the call itself if that is a coroutine, which now runs."""
    cdef const CTaskSpec* spec = execution.spec.get()
    args, kwargs = load_args(execution)
    info = _execution_infos.get(call.code.function_id)
    if info is None:
        info = _get_execution_info(job_id_of(spec.job_id), call.code.descriptor)
    context = event_loop.new_context()
    context.run(current_call.set, call)
    value = context.run(info.function, _actors[actor_id_of(spec.actor_id)], *args, **kwargs)
    if type(value).__name__ != "coroutine":
        return value
    call.task = context.run(event_loop.create_task, value)
    async_calls[task_key(spec.task_id)] = call
    call.task.add_done_callback(call.finish)
    return call


cdef int finish_with_value(AsyncCall call, object value, CTaskResult* result) except -1:
    try:
        SetCurrentTask(call.context.get())
        store_returns(call.context.get().spec.get(), value, call.code, result)
    except BaseException as error:
        finish_with_error(call, error, result)
    return 0


cdef int finish_with_error(AsyncCall call, object error, CTaskResult* result) except -1:
    try:
        SetCurrentTask(call.context.get())
        fail(call.context.get().spec.get(), call.code, error, result)
    except BaseException as second:
        # Not the user's code.
        result.system_error = CStatus(
            CStatusCode.kInternal,
            to_string(f"the worker could not store what the call raised: {second!r}"),
        )
    return 0


cdef int reply_to(AsyncCall call, CTaskResult* result) except -1:
    cdef CCoreWorker* core = current_core
    cdef CTaskId id = call.context.get().spec.get().task_id
    SetCurrentTask(NULL)
    result.printed = take_printed()
    if core != NULL:
        with nogil:
            core.FinishAsyncCall(id, result)
    return 0


cdef int warn_of_blocking_get() except -1:
    """Once, if this is the thread of the event loop."""
    global has_warned_of_get
    if has_warned_of_get or not event_loop.is_running_here():
        return 0
    has_warned_of_get = True
    from rayc._private.driver_log import warn

    warn(
        "rayc.get() in a method of an async actor blocks its event loop, with all calls that run "
        "there: use 'await ref' instead (for several: await asyncio.gather(*refs))"
    )
    return 0
