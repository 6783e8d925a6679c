# Values <-> stored objects. The tags are in src/core_worker/object_format.h.
#
# Two phases: serialize() finds out what a value consists of and how large it is; write_to() then
# puts it where it is to lie, in one copy, without the GIL. Plain small values take a path of their
# own (plain_codec.h). Deserialized buffers are read-only views into the stored object, and keep it;
# or, where a copy was asked for, writable ones into a copy of all of it.

cdef string PLAIN_TAG = b"v"
cdef string RAW_TAG = b"b"
cdef string PICKLE_TAG = b"p"
cdef string TASK_ERROR_TAG = b"t"

cdef size_t COPY_WITH_GIL_BYTES = 64 << 10

cdef object c_dumps = None
cdef object c_loads = None
cdef object cloudpickle_dumps = None


cdef inline bint encode_plain(object value, CObjectValue* stored) except -1:
    """Store a plain small value. False if it is not one."""
    cdef CPlainEncoder* encoder = &ThreadEncoder()
    if not encoder.Encode(value):
        return False
    stored.data = CopyToHeap(encoder.bytes())
    stored.metadata = PLAIN_TAG
    return True


@cython.final
cdef class PinnedBuffer:
    """Bytes of a stored object, or of a copy; keeps it in its place while anybody views them."""

    def __init__(self):
        raise TypeError("a PinnedBuffer comes with a value")

    def __getbuffer__(self, Py_buffer* view, int flags):
        PyBuffer_FillInfo(view, self, <void*>self._data, self._size, not self._writable, flags)

    def __dealloc__(self):
        ReleaseBuffer(self._owner)


cdef object pin(const shared_ptr[CBuffer]& owner, const void* data, size_t size,
                bint writable=False):
    cdef PinnedBuffer pinned = PinnedBuffer.__new__(PinnedBuffer)
    pinned._owner = owner
    pinned._data = <const uint8_t*>data
    pinned._size = size
    pinned._writable = writable
    return memoryview(pinned)


@cython.final
cdef class SerializedValue:
    """A value in parts, ready to be written."""

    def __init__(self):
        raise TypeError("a SerializedValue comes from serialize()")

    cdef void write_to(self, uint8_t* to) noexcept nogil:
        if self._is_pickle:
            self._writer.WriteTo(to)
        else:
            CopyBytes(to, self._raw, self.size)


cdef SerializedValue serialize(object value):
    """Of a value that is not plain. Raises TypeError if it cannot be pickled."""
    cdef SerializedValue made = SerializedValue.__new__(SerializedValue)
    if type(value) is bytes:
        made.metadata = RAW_TAG
        made._main = value
        made._raw = PyBytes_AS_STRING(value)
        made._is_pickle = False
        made.size = PyBytes_GET_SIZE(value)
        return made
    buffers = []
    made._main = pickle_value(value, buffers, &made.nested)
    made._views = [buffer.raw() for buffer in buffers]
    made.metadata = PICKLE_TAG
    made._is_pickle = True
    made._writer.SetPickle(view_of(made._main))
    cdef Py_buffer* view
    for raw in made._views:
        view = PyMemoryView_GET_BUFFER(raw)
        made._writer.AddBuffer(view.buf, view.len)
    made.size = made._writer.ComputeSize()
    return made


cdef CObjectValue to_heap(SerializedValue value):
    cdef CObjectValue stored
    cdef uint8_t* data = NULL
    stored.data = NewHeapBuffer(value.size, &data)
    stored.metadata = value.metadata
    value.write_to(data)
    return stored


cdef int write_in_plasma(CCoreWorker* core, SerializedValue value, const CObjectId& id,
                         const CWorkerId& owner) except -1:
    """1 if written, 0 if the object is there already."""
    cdef uint8_t* data = NULL
    cdef CStatus status
    with nogil:
        status = CreateInPlasma(deref(core), id, value.size, value.metadata, owner, &data)
        if status.ok():
            value.write_to(data)
            status = core.SealInPlasma(id)
            if not status.ok():
                core.AbortInPlasma(id)
    if status.code() == CStatusCode.kAlreadyExists:
        return 0
    check_status(status)
    return 1


# ---- pickling ----

cdef bytes pickle_value(object value, list buffers, vector[CObjectRefInfo]* nested):
    """Pickle with protocol 5; the references found inside are added to `nested`."""
    global c_dumps, cloudpickle_dumps
    cdef vector[CObjectRefInfo]* outer = thread_state.collector
    cdef int budget = PLAIN_TYPES_MAX
    if c_dumps is None:
        from _pickle import dumps as c_dumps
    dumps = c_dumps
    if not has_plain_types(value, 0, &budget):
        if cloudpickle_dumps is None:
            from cloudpickle import dumps as cloudpickle_dumps
        dumps = cloudpickle_dumps
    thread_state.collector = nested
    try:
        return dumps(value, protocol=5, buffer_callback=buffers.append)
    except Exception as error:
        failure = error
    finally:
        thread_state.collector = outer
    if getattr(failure, "of_earlier_session", False):
        raise failure
    raise TypeError(unpicklable_message(value, failure)) from failure


cdef str unpicklable_message(object value, object error):
    try:
        from rayc._private.serialization_errors import explain_unpicklable

        return f"A value cannot be sent to other processes: {explain_unpicklable(value, error)}"
    except ImportError:
        return f"A value cannot be sent to other processes: {error}"


# Containers with more items than this go to cloudpickle unseen.
cdef int PLAIN_TYPES_MAX = 50_000


cdef bint has_plain_types(object value, int depth, int* budget) except -1:
    """Whether the C pickler does with the value what cloudpickle would do.

    That is so for builtin types and arrays: cloudpickle differs for functions, classes, modules,
    and objects of classes that are not importable.
    """
    budget[0] -= 1
    if budget[0] < 0 or depth > 20:
        return False
    kind = type(value)
    if (
        value is None
        or kind is str
        or kind is int
        or kind is float
        or kind is bool
        or kind is bytes
        or kind is ObjectRef
        or kind is bytearray
        or kind is complex
    ):
        return True
    if kind is list:
        for item in <list>value:
            if not has_plain_types(item, depth + 1, budget):
                return False
        return True
    if kind is tuple:
        for item in <tuple>value:
            if not has_plain_types(item, depth + 1, budget):
                return False
        return True
    if kind is dict:
        for key, item in (<dict>value).items():
            if not has_plain_types(key, depth + 1, budget):
                return False
            if not has_plain_types(item, depth + 1, budget):
                return False
        return True
    if kind is set or kind is frozenset:
        for item in value:
            if not has_plain_types(item, depth + 1, budget):
                return False
        return True
    if isinstance(value, BaseID):
        return True
    return is_plain_array(value, kind)


cdef bint is_plain_array(object value, object kind) except -1:
    numpy = sys.modules.get("numpy")
    if numpy is None:
        return False
    if kind is numpy.ndarray:
        return not value.dtype.hasobject
    return isinstance(value, (numpy.number, numpy.bool_)) and kind.__module__ == "numpy"


# ---- reading ----

cdef object deserialize(const CObjectValue& stored, const CObjectId& source, bint copy=False):
    """The value; raises the error that it stands for. `source`: the object, or nil.

    With `copy`, its arrays can be written to.
    """
    cdef char kind = stored.metadata[0] if stored.metadata.size() > 0 else 0
    if kind == b"v":
        return DecodePlain(stored.data.get().View())
    if kind == b"p":
        return unpickle_value(stored, source, copy)
    if kind == b"b":
        return copy_raw(stored)
    raise stored_error(stored, source, kind)


cdef bytes copy_raw(const CObjectValue& stored):
    cdef size_t size = stored.data.get().size()
    cdef const uint8_t* data = stored.data.get().data()
    cdef bytes copy = PyBytes_FromStringAndSize(NULL, size)
    cdef char* to = PyBytes_AS_STRING(copy)
    if size <= COPY_WITH_GIL_BYTES:
        memcpy(to, data, size)
    else:
        with nogil:
            memcpy(to, data, size)
    return copy


cdef object unpickle_value(const CObjectValue& stored, const CObjectId& source, bint copy):
    cdef CPickleParts parts
    cdef shared_ptr[CBuffer] owner = stored.data
    cdef const uint8_t* data
    if not ReadPickleParts(stored.data.get().View(), &parts):
        raise exceptions_module().RaySystemError("a stored value is malformed")
    if copy and parts.buffers.size() > 0:
        owner = copy_to_heap(deref(stored.data))
    data = owner.get().data()
    buffers = [pin(owner, data + place.offset, place.bytes, copy) for place in parts.buffers]
    return unpickle(pin(stored.data, parts.pickle.data(), parts.pickle.size()), buffers, source)


cdef shared_ptr[CBuffer] copy_to_heap(const CBuffer& stored):
    cdef size_t size = stored.size()
    cdef const uint8_t* data = stored.data()
    cdef uint8_t* to = NULL
    cdef shared_ptr[CBuffer] copy = NewHeapBuffer(size, &to)
    if size <= COPY_WITH_GIL_BYTES:
        memcpy(to, data, size)
    else:
        with nogil:
            memcpy(to, data, size)
    return copy


cdef object unpickle(object data, object buffers, const CObjectId& source):
    global c_loads
    cdef const CObjectId* outer = thread_state.source
    if c_loads is None:
        from _pickle import loads as c_loads
    thread_state.source = &source
    try:
        return c_loads(data, buffers=buffers)
    except Exception as error:
        failure = error
    finally:
        thread_state.source = outer
    import traceback

    text = "".join(traceback.format_exception(failure))
    raise exceptions_module().RaySystemError(failure, text) from failure


# ---- errors as values ----

cdef object stored_error(const CObjectValue& stored, const CObjectId& source, char kind):
    """The exception that a stored error stands for."""
    cdef size_t size = stored.data.get().size()
    cdef const char* data = <const char*>stored.data.get().data()
    cdef size_t text_at = 0
    cdef int code = 0
    module = exceptions_module()
    if kind == b"t":
        error = unpickle(pin(stored.data, data, size), (), source)
        return error.as_instanceof_cause() if isinstance(error, module.RayTaskError) else error
    actor_id = None
    if kind == b"a" or kind == b"d":
        if size < 16:
            return module.RaySystemError("a stored error is malformed")
        actor_id = (<bytes>PyBytes_FromStringAndSize(data, 16)).hex()
        text_at = 16
    if kind == b"a":
        cause = unpickle(pin(stored.data, data + text_at, size - text_at), (), source)
        if isinstance(getattr(cause, "cause", None), module.RuntimeEnvSetupError):
            return cause.cause  # its constructor was never reached
        return module.ActorDiedError(cause, actor_id)
    if kind == b"s" or kind == b"d":
        digits = to_bytes(stored.metadata)[1:]
        code = int(digits) if digits.isdigit() else <int>CStatusCode.kInternal
        text = (<bytes>PyBytes_FromStringAndSize(data + text_at, size - text_at)).decode(
            "utf-8", "replace"
        )
        object_id = None if source.IsNil() else to_str(source.Hex())
        return error_of(<CStatusCode>code, text, actor_id, object_id)
    tag = to_bytes(stored.metadata)
    return module.RaySystemError(f"a stored value has the unknown tag {tag!r}")


cdef CObjectValue store_error(object error, vector[CObjectRefInfo]* nested):
    """An exception as the value that stands for it."""
    cdef CObjectValue stored
    try:
        data = pickle_error(error, nested)
    except Exception as failure:
        data = pickle_error(
            exceptions_module().RayTaskError(
                getattr(error, "function_name", "unknown"),
                f"{error}\n(The exception itself could not be pickled: {failure})",
                exceptions_module().RayError(f"{type(error).__name__}: {error}"),
            ),
            nested,
        )
    stored.data = CopyToHeap(view_of(data))
    stored.metadata = TASK_ERROR_TAG
    return stored


cdef bytes pickle_error(object error, vector[CObjectRefInfo]* nested):
    global cloudpickle_dumps
    cdef vector[CObjectRefInfo]* outer = thread_state.collector
    if cloudpickle_dumps is None:
        from cloudpickle import dumps as cloudpickle_dumps
    thread_state.collector = nested
    try:
        return cloudpickle_dumps(error, protocol=5)
    finally:
        thread_state.collector = outer


# ---- for tests and tools ----

def serialize_to_bytes(value):
    """Return (tag, bytes) of a value, as it would be stored."""
    cdef CObjectValue stored
    if not encode_plain(value, &stored):
        stored = to_heap(serialize(value))
    return (
        to_bytes(stored.metadata),
        PyBytes_FromStringAndSize(<const char*>stored.data.get().data(), stored.data.get().size()),
    )


def deserialize_from_bytes(bytes tag not None, bytes data not None):
    """Return the value that is stored so, or raise the error that it stands for."""
    cdef CObjectValue stored
    stored.data = CopyToHeap(view_of(data))
    stored.metadata = to_string(tag)
    return deserialize(stored, CObjectId())
