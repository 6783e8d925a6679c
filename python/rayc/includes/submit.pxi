# From a call in Python to the core worker: options, and arguments.

cdef string KWARG_NAMES_TAG = b"k"  # marks an argument 0 that holds the names of the last ones


cdef CResourceSet resource_set(dict amounts) except *:
    cdef CResourceSet resources
    cdef bytes key
    if amounts:
        for name, amount in amounts.items():
            key = name.encode()
            resources.Set(view_of(key), ToFixedPoint(amount))
    return resources


@cython.final
cdef class SubmitOptions:
    """What does not change between calls of one function (or method) with the same options."""

    def __init__(
        self,
        PythonFunctionDescriptor descriptor not None,
        *,
        str name="",
        int num_returns=1,
        dict resources=None,
        dict placement_resources=None,
        int max_retries=0,
        bint retry_exceptions=False,
        bytes retry_exception_types=b"",
        str runtime_env="",
        str concurrency_group="",
        SchedulingStrategy strategy=None,
    ):
        if num_returns < 0:
            raise ValueError("num_returns must not be negative")
        self.descriptor = descriptor
        self.num_returns = num_returns
        self._options.function = descriptor._descriptor
        self._options.name = to_string(name or call_name_of(descriptor))
        self._options.num_returns = num_returns
        self._options.resources = resource_set(resources)
        self._options.placement_resources = resource_set(
            resources if placement_resources is None else placement_resources
        )
        self._options.max_retries = max_retries
        self._options.retry_exceptions = retry_exceptions
        self._options.retry_exception_types = to_string(retry_exception_types)
        self._options.runtime_env = to_string(runtime_env)
        self._options.concurrency_group = to_string(concurrency_group)
        if strategy is not None:
            self._options.strategy = strategy._strategy
        self._options.inherits_group = strategy is None
        self._options.Seal()


@cython.final
cdef class ActorOptions:
    """What is asked of an actor beside what its creation shares with other tasks."""

    def __init__(
        self,
        *,
        int max_restarts=0,
        int max_task_retries=0,
        int max_concurrency=1,
        bint is_asyncio=False,
        bint is_detached=False,
        bint allow_out_of_order=False,
        str name="",
        str namespace="",
        str class_name="",
        bytes handle_state=b"",
        dict concurrency_groups=None,
    ):
        cdef CConcurrencyGroup group
        self._creation.max_restarts = max_restarts
        self._creation.max_task_retries = max_task_retries
        self._creation.max_concurrency = max_concurrency
        self._creation.is_asyncio = is_asyncio
        self._creation.is_detached = is_detached
        self._creation.allow_out_of_order = allow_out_of_order
        self._creation.name = to_string(name)
        self._creation.name_space = to_string(namespace)
        self._creation.class_name = to_string(class_name)
        self._creation.handle_state = to_string(handle_state)
        if concurrency_groups:
            for group_name, group_size in concurrency_groups.items():
                group.name = to_string(group_name)
                group.max_concurrency = group_size
                self._creation.concurrency_groups.push_back(group)


cdef int build_args(CCoreWorker* core, object args, object kwarg_names, vector[CTaskArg]* built,
                    list held) except -1:
    """The arguments of a call, as they travel. `held`: keep it until the call is submitted."""
    cdef CTaskArg* arg
    cdef SerializedValue value
    built.reserve(len(args) + 1)
    if kwarg_names:
        built.emplace_back()
        arg = &built.back()
        if not encode_plain(tuple(kwarg_names), &arg.value):
            raise ValueError("the names of the keyword arguments are too many, or too long")
        arg.value.metadata = KWARG_NAMES_TAG
    for item in args:
        built.emplace_back()
        arg = &built.back()
        if type(item) is ObjectRef:
            check_ref(<ObjectRef>item)
            arg.object_id = IdFrom[CObjectId]((<ObjectRef>item)._bytes)
        elif not encode_plain(item, &arg.value):
            value = serialize(item)
            if value.size <= kInlineBytesMax:
                arg.value = to_heap(value)
                arg.nested = value.nested
            else:
                ref = put_in_plasma(core, value)
                held.append(ref)
                arg.object_id = IdFrom[CObjectId]((<ObjectRef>ref)._bytes)
    return 0


cdef ObjectRef put_in_plasma(CCoreWorker* core, SerializedValue value):
    cdef CObjectId id = core.NextPutId()
    cdef CObjectValue in_plasma
    write_in_plasma(core, value, id, core.self().worker_id)
    in_plasma.metadata = value.metadata
    core.Put(id, in_plasma, value.size, value.nested)
    return with_call_site(core, new_ref(id))


cdef list new_refs(const vector[CObjectId]& ids):
    cdef size_t i
    return [new_ref(ids[i]) for i in range(ids.size())]
