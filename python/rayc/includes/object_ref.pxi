# ObjectRef: holds the object that it names, as long as it lives.

# Owners of references, as they travel in pickles; one tuple per owner, so that a value with many
# references contains each owner once. By binary WorkerID.
cdef dict owner_tuples = {}
cdef int OWNER_TUPLES_MAX = 1024


@cython.final
cdef class ObjectRef(BaseID):
    """A reference to an object; holds it alive while it lives.

    Returned by ``.remote()`` and ``put``. Its value comes with ``get(ref)`` or ``await ref``.
    """

    __class_getitem__ = classmethod(type(list[int]))

    def __init__(self, binary):
        if self._length != 0:
            raise TypeError("an ObjectRef cannot change")
        self._assign(binary, 28)
        cdef CObjectId id = IdFrom[CObjectId](self._bytes)
        if current_core != NULL and not fork_state.is_fork and not current_core.OwnerOf(id).IsNil():
            current_core.CopyLocalRef(id)
            self._generation = current_generation

    def __dealloc__(self):
        # In any thread, at any time. The core worker's lock is never held by one who waits for
        # the GIL, and nothing is called back.
        if (
            self._generation != 0
            and self._generation == current_generation
            and current_core != NULL
            and not fork_state.is_fork
        ):
            current_core.RemoveLocalRef(IdFrom[CObjectId](self._bytes))

    @classmethod
    def size(cls):
        """Return the number of its bytes."""
        return 28

    def task_id(self):
        """Return the task that makes the object, or that put it."""
        return task_id_of(IdFrom[CObjectId](self._bytes).Task())

    def job_id(self):
        """Return the job of its task."""
        return job_id_of(IdFrom[CObjectId](self._bytes).Task().Job())

    def owner_address(self):
        """Return the address of the process that owns the object; b"" if unknown."""
        if current_core == NULL or fork_state.is_fork:
            return b""
        cdef CAddress owner = current_core.OwnerOf(IdFrom[CObjectId](self._bytes))
        return b"" if owner.IsNil() else to_bytes(PackAddress(owner))

    def call_site(self):
        """Return where it was made, if that was recorded (RAYC_record_ref_creation_sites)."""
        if not records_call_sites or current_core == NULL or fork_state.is_fork:
            return ""
        return to_str(current_core.CallSiteOf(IdFrom[CObjectId](self._bytes)))

    def __reduce__(self):
        return _unpickle_object_ref, (self.binary(), begin_travel(self))

    def future(self):
        """Return a concurrent.futures.Future of the value."""
        return future_of(self)

    def as_future(self):
        """Return an asyncio.Future of the value (deprecated: await the reference itself)."""
        import asyncio

        return asyncio.wrap_future(future_of(self))

    def __await__(self):
        import asyncio

        return asyncio.wrap_future(future_of(self)).__await__()

    def _on_completed(self, callback):
        """Call `callback` with the value, or with the exception, in a thread of rayc's."""
        watch(self, lambda result, failed: callback(result))


ObjectID = ObjectRef


cdef ObjectRef new_ref(const CObjectId& id):
    """Takes over a local reference that is counted already."""
    cdef ObjectRef ref = fill_id(ObjectRef.__new__(ObjectRef), id.data(), 28)
    ref._generation = current_generation
    return ref


cdef object begin_travel(ObjectRef ref):
    """Note that the reference is being pickled; returns its owner."""
    cdef CObjectRefInfo info
    check_ref(ref)
    if current_core == NULL:
        return ()
    info.id = IdFrom[CObjectId](ref._bytes)
    info.owner = current_core.OwnerOf(info.id)
    if thread_state.collector != NULL:
        thread_state.collector.push_back(info)
    else:
        if setting("allow_out_of_band_object_ref_serialization") == "0":
            raise exceptions_module().OufOfBandObjectRefSerializationException(
                f"{ref!r} is being pickled outside of a task's arguments, results and put(), where "
                "nobody can know who holds it: pass the reference itself. (The variable "
                "RAYC_allow_out_of_band_object_ref_serialization forbids it.)"
            )
        current_core.HoldForever(info.id)
    return owner_tuple_of(info.owner)


cdef object owner_tuple_of(const CAddress& owner):
    if owner.IsNil():
        return ()
    cdef bytes worker_id = PyBytes_FromStringAndSize(<const char*>owner.worker_id.data(), 28)
    known = owner_tuples.get(worker_id)
    if known is None:
        if len(owner_tuples) >= OWNER_TUPLES_MAX:
            owner_tuples.clear()
        node_id = PyBytes_FromStringAndSize(<const char*>owner.node_id.data(), 28)
        known = (node_id, worker_id, to_bytes(owner.socket))
        owner_tuples[worker_id] = known
    return known


def _unpickle_object_ref(bytes binary, tuple owner):
    """Make a reference again, in a process that borrows the object from now on."""
    cdef ObjectRef ref = ObjectRef.__new__(ObjectRef)
    cdef CObjectRefInfo info
    cdef CObjectId source
    ref._assign(binary, 28)
    if current_core == NULL or fork_state.is_fork:
        return ref
    info.id = IdFrom[CObjectId](ref._bytes)
    if owner:
        node_id, worker_id, socket = owner
        if len(node_id) != 28 or len(worker_id) != 28:
            raise ValueError("malformed owner of an ObjectRef")
        info.owner.node_id = IdFrom[CNodeId](<const uint8_t*>PyBytes_AS_STRING(node_id))
        info.owner.worker_id = IdFrom[CWorkerId](<const uint8_t*>PyBytes_AS_STRING(worker_id))
        info.owner.socket = to_string(socket)
    if thread_state.source != NULL:
        source = deref(thread_state.source)
    current_core.AddLocalRef(info, source)
    ref._generation = current_generation
    return ref
