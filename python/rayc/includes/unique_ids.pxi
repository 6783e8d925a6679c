# The identifiers (src/common/ids.h): fixed numbers of bytes, immutable, equal and hashed by them.

cdef class BaseID:
    """An identifier: see its subclasses."""

    cdef int _assign(self, object binary, int length) except -1:
        if not isinstance(binary, bytes):
            raise TypeError(
                f"{type(self).__name__} is made of bytes, not of {type(binary).__name__}"
            )
        if len(binary) != length:
            raise ValueError(
                f"{type(self).__name__} has {length} bytes, and these are {len(binary)}"
            )
        memcpy(self._bytes, PyBytes_AS_STRING(binary), length)
        self._length = length
        return 0

    @classmethod
    def from_binary(cls, binary):
        """Make it from its bytes."""
        return cls(binary)

    @classmethod
    def from_hex(cls, hex_id):
        """Make it from hexadecimal digits."""
        return cls(bytes.fromhex(hex_id.decode("ascii") if isinstance(hex_id, bytes) else hex_id))

    @classmethod
    def from_random(cls):
        """Make a new one."""
        cdef uint8_t data[28]
        FillRandom(data, 28)
        return cls(PyBytes_FromStringAndSize(<char*>data, cls.size()))

    @classmethod
    def nil(cls):
        """Return the one that stands for none."""
        return cls(b"\xff" * cls.size())

    def binary(self):
        """Return its bytes."""
        return PyBytes_FromStringAndSize(<char*>self._bytes, self._length)

    def hex(self):
        """Return its bytes as hexadecimal digits."""
        return self.binary().hex()

    def is_nil(self):
        """Return whether it stands for none."""
        for i in range(self._length):
            if self._bytes[i] != 0xff:
                return False
        return True

    def __hash__(self):
        return <Py_hash_t>HashIdBytes(self._bytes, self._length)

    def __eq__(self, other):
        if type(self) is not type(other):
            return NotImplemented
        return (
            self._length == (<BaseID>other)._length
            and memcmp(self._bytes, (<BaseID>other)._bytes, self._length) == 0
        )

    def __repr__(self):
        return f"{type(self).__name__}({self.hex()})"

    def __reduce__(self):
        return type(self), (self.binary(),)

    def __copy__(self):
        return self

    def __deepcopy__(self, memo):
        return self


cdef class UniqueID(BaseID):
    """Any identifier of 28 bytes."""

    def __init__(self, binary):
        self._assign(binary, 28)

    @classmethod
    def size(cls):
        """Return the number of its bytes."""
        return 28


cdef class NodeID(BaseID):
    """Of a node."""

    def __init__(self, binary):
        self._assign(binary, 28)

    @classmethod
    def size(cls):
        """Return the number of its bytes."""
        return 28


cdef class WorkerID(BaseID):
    """Of a driver or worker process."""

    def __init__(self, binary):
        self._assign(binary, 28)

    @classmethod
    def size(cls):
        """Return the number of its bytes."""
        return 28


cdef class FunctionID(BaseID):
    """Of a function or actor class in the function table."""

    def __init__(self, binary):
        self._assign(binary, 28)

    @classmethod
    def size(cls):
        """Return the number of its bytes."""
        return 28


cdef class ClusterID(BaseID):
    """Of a cluster."""

    def __init__(self, binary):
        self._assign(binary, 28)

    @classmethod
    def size(cls):
        """Return the number of its bytes."""
        return 28


cdef class JobID(BaseID):
    """Of a job: what one driver does."""

    def __init__(self, binary):
        self._assign(binary, 4)

    @classmethod
    def size(cls):
        """Return the number of its bytes."""
        return 4

    @classmethod
    def from_int(cls, uint32_t value):
        """Make it from its number."""
        return job_id_of(CJobId.FromInt(value))

    def int(self):
        """Return its number."""
        return IdFrom[CJobId](self._bytes).ToInt()


cdef class ActorID(BaseID):
    """Of an actor; contains its job's."""

    def __init__(self, binary):
        self._assign(binary, 16)

    @classmethod
    def size(cls):
        """Return the number of its bytes."""
        return 16

    @classmethod
    def of(cls, JobID job_id not None):
        """Make one for a new actor of the job."""
        return actor_id_of(CActorId.Of(IdFrom[CJobId](job_id._bytes)))

    def job_id(self):
        """Return its job."""
        return job_id_of(IdFrom[CActorId](self._bytes).Job())


cdef class TaskID(BaseID):
    """Of a task; contains its actor's."""

    def __init__(self, binary):
        self._assign(binary, 24)

    @classmethod
    def size(cls):
        """Return the number of its bytes."""
        return 24

    def job_id(self):
        """Return its job."""
        return job_id_of(IdFrom[CTaskId](self._bytes).Job())

    def actor_id(self):
        """Return its actor; no actor's for a plain task."""
        return actor_id_of(IdFrom[CTaskId](self._bytes).Actor())


cdef class PlacementGroupID(BaseID):
    """Of a placement group; contains its job's."""

    def __init__(self, binary):
        self._assign(binary, 18)

    @classmethod
    def size(cls):
        """Return the number of its bytes."""
        return 18

    @classmethod
    def of(cls, JobID job_id not None):
        """Make one for a new group of the job."""
        cdef CPlacementGroupId group = CPlacementGroupId.Of(IdFrom[CJobId](job_id._bytes))
        return PlacementGroupID(PyBytes_FromStringAndSize(<const char*>group.data(), 18))


cdef object fill_id(BaseID made, const uint8_t* data, int length):
    memcpy(made._bytes, data, length)
    made._length = length
    return made


cdef JobID job_id_of(const CJobId& job):
    return fill_id(JobID.__new__(JobID), job.data(), 4)


cdef ActorID actor_id_of(const CActorId& actor):
    return fill_id(ActorID.__new__(ActorID), actor.data(), 16)


cdef TaskID task_id_of(const CTaskId& task):
    return fill_id(TaskID.__new__(TaskID), task.data(), 24)


cdef NodeID node_id_of(const CNodeId& node):
    return fill_id(NodeID.__new__(NodeID), node.data(), 28)


cdef WorkerID worker_id_of(const CWorkerId& worker):
    return fill_id(WorkerID.__new__(WorkerID), worker.data(), 28)
