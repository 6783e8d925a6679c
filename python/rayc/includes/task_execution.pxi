# From the core worker to a call in Python: runs a task, and stores what comes of it.

@cython.final
cdef class TaskCode:
    """What this worker keeps about code that it has run."""

    cdef PythonFunctionDescriptor descriptor
    cdef bytes function_id
    cdef str name         # "f", "Class.method"
    cdef bytes title      # of the process, while it runs
    cdef object runs      # how often; a list of one number

    def __cinit__(self):
        self.runs = 0


# By DescriptorKey. The objects are kept by task_code_list; one job's functions bound them.
cdef unordered_map[string, PyObject*] task_codes
cdef list task_code_list = []
cdef string task_code_key

cdef bytes idle_title = b"rayc::IDLE"
cdef bytes shown_title = b""

# Of the actor that lives in this process: what its creation brought.
cdef CActorId own_actor_id
cdef dict own_resources = {}
cdef dict own_instances = {}
cdef uint32_t own_attempt = 0  # how often it was started before
cdef str own_actor_name = None

cdef bint job_is_set_up = False
cdef bytes job_config = None  # until then: it comes with the first task of each caller
cdef object output_is_dirty = None
cdef double applied_cpus = -1
cdef bint applied_instances = False


cdef void execute_task(const CTaskExecution& execution, CTaskResult* result) noexcept nogil:
    """The bridge's. Any thread of the core worker that runs tasks."""
    KeepPythonThreadState()
    with gil:
        execute_with_gil(execution, result)


cdef void execute_with_gil(const CTaskExecution& execution, CTaskResult* result) noexcept:
    try:
        run_task(execution, result)
    except BaseException as error:
        # Not the user's code, which run_task guards.
        result.system_error = CStatus(
            CStatusCode.kInternal,
            to_string(f"the worker could not run the task: {type(error).__name__}: {error}"),
        )


cdef TaskCode task_code_of(const CFunctionDescriptor& descriptor):
    cdef TaskCode code
    DescriptorKey(descriptor, &task_code_key)
    found = task_codes.find(task_code_key)
    if found != task_codes.end():
        return <TaskCode>deref(found).second
    code = TaskCode()
    code.descriptor = descriptor_of(descriptor)
    code.function_id = code.descriptor.function_id.binary()
    code.name = call_name_of(code.descriptor)
    code.title = f"rayc::{code.name}".encode("utf-8", "replace")
    task_code_list.append(code)
    task_codes[task_code_key] = <PyObject*>code
    return code


cdef int show_title(bytes title) except -1:
    global shown_title
    if title is not shown_title:
        shown_title = title
        SetProcessTitle(view_of(title))
    return 0


cdef int run_task(const CTaskExecution& execution, CTaskResult* result) except -1:
    cdef const CTaskSpec* spec = execution.spec.get()
    cdef TaskCode code = task_code_of(spec.function)
    cdef bytes title = code.title
    if spec.type == CTaskType.kNormal and to_str(spec.name) != code.name:
        title = f"rayc::{to_str(spec.name)}".encode("utf-8", "replace")
    show_title(title)
    try:
        if not pass_on_argument_errors(execution, result):
            run_and_store(execution, code, result)
        result.printed = take_printed()
    finally:
        show_title(idle_title)
    return 0


cdef bint pass_on_argument_errors(const CTaskExecution& execution, CTaskResult* result) except -1:
    """A task one of whose arguments failed fails with the same error, and does not run."""
    cdef size_t i
    for i in range(execution.args.size()):
        if IsErrorMetadata(execution.args[i].metadata):
            fill_returns(execution.spec.get(), execution.args[i], result)
            return True
    return False


cdef int fill_returns(const CTaskSpec* spec, const CObjectValue& value,
                      CTaskResult* result) except -1:
    cdef size_t count = spec.num_returns
    cdef size_t i
    if spec.type == CTaskType.kActorCreation and count == 0:
        count = 1
    result.returns.clear()
    result.returns.resize(count)
    for i in range(count):
        result.returns[i].value = value
        result.returns[i].size = value.data.get().size()
    return 0


cdef int run_and_store(const CTaskExecution& execution, TaskCode code,
                       CTaskResult* result) except -1:
    cdef const CTaskSpec* spec = execution.spec.get()
    try:
        value = run(execution, code, result)
        if spec.type == CTaskType.kActor and IsCancelled(deref(CurrentTask())):
            cancelled(spec, code, result)  # it could look, and was not interrupted
        else:
            store_returns(spec, value, code, result)
    except BaseException as error:
        fail(spec, code, error, result)
    return 0


cdef int fail(const CTaskSpec* spec, TaskCode code, object error, CTaskResult* result) except -1:
    """The user's code raised."""
    if isinstance(error, SystemExit):
        leave(spec, code, error, result)
    elif isinstance(error, KeyboardInterrupt):
        cancelled(spec, code, result)
    elif isinstance(error, exceptions_module().AsyncioActorExit):
        leave(spec, code, SystemExit(0), result)
    else:
        store_failure(spec, code, error, result)
    return 0


cdef object run(const CTaskExecution& execution, TaskCode code, CTaskResult* result):
    """Run the user's code; returns its value."""
    global own_resources, own_instances
    cdef const CTaskSpec* spec = execution.spec.get()
    if not job_is_set_up:
        set_up_job(execution)
    apply_resources(execution)
    args, kwargs = load_args(execution)
    if spec.type == CTaskType.kActorCreation:
        own_resources = resources_dict(spec.resources)
        own_instances = instances_dict(execution.assigned)
        result.doorbell_fd = create_actor(spec, code, args, kwargs)
        return None
    info = _execution_infos.get(code.function_id)
    if info is None:
        info = _get_execution_info(job_id_of(spec.job_id), code.descriptor)
    if spec.type == CTaskType.kActor:
        value = info.function(_actors[actor_id_of(spec.actor_id)], *args, **kwargs)
    else:
        value = run_own_code(info.function, args, kwargs)
    if spec.type == CTaskType.kNormal and info.max_calls:
        code.runs += 1
        if code.runs >= info.max_calls:
            result.worker_exiting = True
            result.exit_detail = to_string(f"{code.name} has run max_calls={info.max_calls} times")
    if type(value).__name__ == "coroutine":
        value.close()
        raise TypeError(
            f"{code.name} returned a coroutine: only actors with async methods run these"
        )
    return value


def name_of_own_actor():
    """Return the name of the actor that lives in this process: "" if it has none; None: no actor."""
    return own_actor_name


cdef object run_own_code(object function, list args, dict kwargs):
    """Run a task's function, in the main thread: only here it can be interrupted."""
    try:
        if EnterOwnCode():
            raise KeyboardInterrupt
        if kwargs:
            return function(*args, **kwargs)
        return function(*args)
    finally:
        LeaveOwnCode()


def interrupt_current_task(signum, frame):
    """The main thread's handler of CANCEL_SIGNAL."""
    if TakeInterrupt():
        raise KeyboardInterrupt


cdef int set_up_job(const CTaskExecution& execution) except -1:
    """Make this worker one of the job and the runtime environment that it serves from now on."""
    global job_is_set_up, job_config
    cdef const CTaskSpec* spec = execution.spec.get()
    if not execution.job_config.empty():
        job_config = to_bytes(execution.job_config)
    if job_config is not None:
        _before_first_task(job_id_of(spec.job_id), job_config, to_str(spec.runtime_env))
        job_is_set_up = True
        job_config = None
    return 0


cdef tuple load_args(const CTaskExecution& execution):
    """Positional arguments, and keyword arguments."""
    cdef const CTaskSpec* spec = execution.spec.get()
    cdef size_t count = execution.args.size()
    cdef size_t first = 0
    cdef size_t i
    cdef CObjectId source
    cdef tuple names = ()
    if count > 0 and not spec.args[0].IsRef() and execution.args[0].metadata == KWARG_NAMES_TAG:
        names = DecodePlain(execution.args[0].data.get().View())
        first = 1
    values = []
    for i in range(first, count):
        source = CObjectId()
        if spec.args[i].IsRef():
            source = spec.args[i].object_id
        values.append(deserialize(execution.args[i], source))
    if not names:
        return values, {}
    positional = len(values) - len(names)
    return values[:positional], dict(zip(names, values[positional:]))


cdef int create_actor(const CTaskSpec* spec, TaskCode code, list args, dict kwargs) except -2:
    """Make the actor of this process. Returns what wakes its event loop; -1: it has none."""
    global idle_title, own_actor_id, own_attempt, own_actor_name
    cdef int doorbell_fd = -1
    cls = _load_actor_class(job_id_of(spec.job_id), code.descriptor)
    own_actor_id = spec.creation.value().actor_id
    own_attempt = spec.attempt
    own_actor_name = to_str(spec.creation.value().name)
    actor_id = actor_id_of(own_actor_id)
    try:
        if spec.creation.value().is_asyncio:
            doorbell_fd = construct_in_event_loop(code, cls, actor_id, args, kwargs)
        else:
            construct(cls, actor_id, args, kwargs)
    except BaseException:
        _actors.pop(actor_id, None)
        raise
    idle_title = f"rayc::{short_name(code.descriptor.class_name)}".encode("utf-8", "replace")
    return doorbell_fd


def construct(cls, actor_id, list args, dict kwargs):
    """Make the object, as Python's call of a class does it; returns what __init__ does."""
    if cls.__new__ is object.__new__:
        actor = cls.__new__(cls)
    else:
        actor = cls.__new__(cls, *args, **kwargs)
    _actors[actor_id] = actor
    if isinstance(actor, cls):
        return cls.__init__(actor, *args, **kwargs)
    return None


cdef int apply_resources(const CTaskExecution& execution) except -1:
    """Let Python set what follows from the resources, when they differ from the last task's."""
    global applied_cpus, applied_instances
    cdef const CTaskSpec* spec = execution.spec.get()
    if _apply_resources is None or spec.type == CTaskType.kActor:
        return 0
    resources = resources_dict(spec.resources)
    cpus = resources.get("CPU", 0.0)
    if execution.assigned.empty() and not applied_instances and cpus == applied_cpus:
        return 0
    applied_cpus = cpus
    applied_instances = not execution.assigned.empty()
    _apply_resources(resources, instances_dict(execution.assigned))
    return 0


cdef dict instances_dict(const CAssignedInstances& assigned):
    cdef size_t i
    return {to_str(assigned[i].first): assigned[i].second for i in range(assigned.size())}


# ---- what comes of it ----

cdef int store_returns(const CTaskSpec* spec, object value, TaskCode code,
                       CTaskResult* result) except -1:
    cdef size_t count = spec.num_returns
    cdef size_t i
    if spec.type == CTaskType.kActorCreation or count == 1:
        result.returns.resize(1)
        store_return(spec, 0, value, &result.returns[0])
        return 0
    if count == 0:
        return 0
    try:
        values = list(value)
    except TypeError:
        raise ValueError(
            f"{code.name}() returned a {type(value).__name__}, and num_returns={count} asks for "
            f"{count} values"
        ) from None
    if <size_t>len(values) != count:
        raise ValueError(
            f"{code.name}() returned {len(values)} values, and num_returns={count} asks for {count}"
        )
    result.returns.resize(count)
    for i in range(count):
        store_return(spec, i, values[i], &result.returns[i])
    return 0


cdef int store_return(const CTaskSpec* spec, size_t index, object value,
                      CReturnObject* stored) except -1:
    cdef SerializedValue serialized
    if encode_plain(value, &stored.value):
        stored.size = stored.value.data.get().size()
        return 0
    serialized = serialize(value)
    stored.size = serialized.size
    stored.nested = serialized.nested
    if serialized.size <= kInlineBytesMax:
        stored.value = to_heap(serialized)
    else:
        # It may be there already: an earlier attempt has written it.
        write_in_plasma(
            core_now(), serialized, spec.ReturnId(<uint32_t>index), spec.caller.worker_id
        )
        stored.in_plasma = True
    HoldNested(deref(core_now()), stored)
    return 0


cdef int store_failure(const CTaskSpec* spec, TaskCode code, object error,
                       CTaskResult* result) except -1:
    """Every return is the error."""
    cdef vector[CObjectRefInfo] nested
    cdef CObjectValue stored
    cdef size_t i
    failure = _make_task_error(error, code.name, "")
    stored = store_error(failure, &nested)
    result.is_application_error = True
    result.is_final_error = spec.retry_exceptions and not is_retried_for(spec, error)
    fill_returns(spec, stored, result)
    for i in range(result.returns.size()):
        result.returns[i].nested = nested
        HoldNested(deref(core_now()), &result.returns[i])
    return 0


cdef bint is_retried_for(const CTaskSpec* spec, object error) except -1:
    if spec.retry_exception_types.empty():
        return True
    import pickle

    try:
        return isinstance(error, pickle.loads(to_bytes(spec.retry_exception_types)))
    except Exception:
        return False  # none of a class that does not exist here


cdef int cancelled(const CTaskSpec* spec, TaskCode code, CTaskResult* result) except -1:
    result.is_application_error = True
    fill_returns(
        spec,
        MakeErrorValue(
            CStatus(CStatusCode.kCancelled, to_string(f"{code.name} was interrupted."))
        ),
        result,
    )
    return 0


cdef int leave(const CTaskSpec* spec, TaskCode code, object error, CTaskResult* result) except -1:
    """The task ends this process: sys.exit(), exit_actor(), __ray_terminate__."""
    value = error.code
    if value is None:
        exit_code = 0
    elif isinstance(value, int):
        exit_code = value & 0xff
    else:
        print(value, file=sys.stderr)
        exit_code = 1
    if spec.type == CTaskType.kNormal:
        kind = CStatusCode.kWorkerCrashed
        detail = f"{code.name} ended its worker (pid {os.getpid()}) with sys.exit({value!r})"
    elif exit_code == 0:
        kind = CStatusCode.kActorDied
        detail = f"the actor ended by itself, in {code.name}"
    else:
        kind = CStatusCode.kActorDied
        detail = f"the actor ended in {code.name} with sys.exit({value!r})"
    result.returns.clear()
    result.worker_exiting = True
    result.exit_code = exit_code
    result.exit_detail = to_string(detail)
    result.system_error = CStatus(kind, result.exit_detail)
    return 0


cdef bint take_printed() except -1:
    """Whether something was printed since the last task; it is then on its way to the raylet."""
    global output_is_dirty
    if output_is_dirty is None:
        module = sys.modules.get("rayc._private.worker_main")
        output_is_dirty = getattr(module, "output_is_dirty", None) or (lambda: False)
    return output_is_dirty()
