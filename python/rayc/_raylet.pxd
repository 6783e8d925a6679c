# The C side of the extension's classes: what its .pxi files share.
from libc.stdint cimport uint8_t, uint32_t
from libcpp cimport bool as c_bool
from libcpp.memory cimport shared_ptr, unique_ptr
from libcpp.string cimport string
from libcpp.vector cimport vector

from rayc.includes.common cimport CActorCreationSpec, CBuffer, CObjectRefInfo, CTaskSpec
from rayc.includes.function_descriptor cimport CFunctionDescriptor
from rayc.includes.libcoreworker cimport (
    CCoreWorker,
    CPickleWriter,
    CReadyQueue,
    CSchedulingStrategy,
    CTaskOptions,
    CZygoteChannel,
)


cdef class BaseID:
    cdef uint8_t _bytes[28]  # the first _length of them
    cdef uint8_t _length

    cdef int _assign(self, object binary, int length) except -1


cdef class UniqueID(BaseID):
    pass


cdef class NodeID(BaseID):
    pass


cdef class WorkerID(BaseID):
    pass


cdef class FunctionID(BaseID):
    pass


cdef class ClusterID(BaseID):
    pass


cdef class JobID(BaseID):
    pass


cdef class ActorID(BaseID):
    pass


cdef class TaskID(BaseID):
    pass


cdef class PlacementGroupID(BaseID):
    pass


cdef class ObjectRef(BaseID):
    # The session in which this object holds a local reference; 0: it holds none.
    cdef uint32_t _generation
    # For wait(): see includes/wait.pxi.
    cdef uint32_t _wait_call
    cdef uint32_t _wait_family
    cdef bint _known_ready
    cdef object __weakref__


cdef class PythonFunctionDescriptor:
    cdef CFunctionDescriptor _descriptor
    cdef object _function_id  # made when first asked for
    cdef object _hash


cdef class TaskSpecification:
    cdef shared_ptr[const CTaskSpec] _spec


cdef class SchedulingStrategy:
    cdef CSchedulingStrategy _strategy


cdef class SubmitOptions:
    cdef CTaskOptions _options
    cdef readonly PythonFunctionDescriptor descriptor
    cdef readonly int num_returns


cdef class ActorOptions:
    cdef CActorCreationSpec _creation


cdef class PinnedBuffer:
    cdef shared_ptr[CBuffer] _owner
    cdef const uint8_t* _data
    cdef Py_ssize_t _size
    cdef bint _writable


cdef class SerializedValue:
    cdef string metadata
    cdef size_t size
    cdef vector[CObjectRefInfo] nested
    cdef object _main       # bytes: the value itself, or its pickle
    cdef list _views        # of the pickle's buffers, contiguous
    cdef const char* _raw   # in _main, if it is the value itself
    cdef c_bool _is_pickle
    cdef CPickleWriter _writer

    cdef void write_to(self, uint8_t* to) noexcept nogil


cdef class CompletionThread:
    cdef CoreWorker _core_worker
    cdef shared_ptr[CReadyQueue] _queue
    cdef dict _pending      # by binary id: list of (ref, callback)
    cdef object _thread

    cdef int add(self, ObjectRef ref, object callback) except -1
    cdef object take(self)


cdef class CoreWorker:
    cdef unique_ptr[CCoreWorker] _core
    cdef uint32_t _generation  # 0 once it is shut down
    cdef readonly str session_dir
    cdef CompletionThread _completions

    cdef CCoreWorker* core(self) except NULL


cdef class Zygote:
    cdef unique_ptr[CZygoteChannel] _channel
