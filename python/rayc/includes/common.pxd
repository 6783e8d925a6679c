# src/common, as Cython sees it: value types, free of the GIL.
from libc.stdint cimport int32_t, int64_t, uint8_t, uint32_t
from libcpp cimport bool as c_bool
from libcpp.memory cimport shared_ptr
from libcpp.string cimport string
from libcpp.vector cimport vector

from rayc.includes.function_descriptor cimport CFunctionDescriptor
from rayc.includes.unique_ids cimport CActorId, CJobId, CNodeId, CObjectId, CTaskId, CWorkerId


cdef extern from "<string_view>" namespace "std" nogil:
    cdef cppclass string_view:
        string_view()
        string_view(const char*, size_t)
        const char* data() const
        size_t size() const


cdef extern from "common/status.h" namespace "rayc" nogil:
    cdef enum class CStatusCode "rayc::StatusCode":
        kOk
        kInvalidArgument
        kNotFound
        kAlreadyExists
        kTimedOut
        kInterrupted
        kDisconnected
        kIOError
        kOutOfMemory
        kOutOfDisk
        kOwnerDied
        kActorDied
        kActorUnavailable
        kWorkerCrashed
        kUnschedulable
        kCancelled
        kVersionMismatch
        kUnauthenticated
        kNotImplemented
        kShutdown
        kObjectLost
        kRuntimeEnvSetup
        kInternal
        kPlacementGroupRemoved
        kCancelledByForce

    cdef cppclass CStatus "rayc::Status":
        CStatus()
        CStatus(CStatusCode, string)
        c_bool ok() const
        CStatusCode code() const
        const string& message() const


cdef extern from "common/buffer.h" namespace "rayc" nogil:
    cdef cppclass CBuffer "rayc::Buffer":
        const uint8_t* data() const
        size_t size() const
        string_view View() const

    cdef cppclass CObjectValue "rayc::ObjectValue":
        CObjectValue()
        shared_ptr[CBuffer] data
        string metadata


cdef extern from "common/address.h" namespace "rayc" nogil:
    cdef cppclass CAddress "rayc::Address":
        CNodeId node_id
        CWorkerId worker_id
        string socket
        c_bool IsNil() const


cdef extern from "common/resources.h" namespace "rayc" nogil:
    int64_t ToFixedPoint(double)

    cdef cppclass CResourceSet "rayc::ResourceSet":
        CResourceSet()
        int64_t Get(string_view) const
        void Set(string_view, int64_t)
        c_bool IsEmpty() const
        c_bool operator==(const CResourceSet&) const


cdef extern from "common/logging.h" namespace "rayc" nogil:
    cdef enum class CLogLevel "rayc::LogLevel":
        kWarning

    CLogLevel ParseLogLevel(const string&, CLogLevel)


cdef extern from "common/task_spec.h" namespace "rayc" nogil:
    cdef enum class CTaskType "rayc::TaskType":
        kNormal
        kActorCreation
        kActor
        kDriver

    cdef cppclass CObjectRefInfo "rayc::ObjectRefInfo":
        CObjectRefInfo()
        CObjectId id
        CAddress owner

    cdef cppclass CTaskArg "rayc::TaskArg":
        CTaskArg()
        CObjectId object_id
        CObjectValue value
        vector[CObjectRefInfo] nested
        c_bool IsRef() const

    cdef cppclass CConcurrencyGroup "rayc::ConcurrencyGroup":
        CConcurrencyGroup()
        string name
        int32_t max_concurrency

    cdef cppclass CActorCreationSpec "rayc::ActorCreationSpec":
        CActorCreationSpec()
        CActorId actor_id
        int32_t max_restarts
        int32_t max_task_retries
        int32_t max_concurrency
        c_bool is_asyncio
        c_bool is_detached
        c_bool allow_out_of_order
        string name
        string name_space
        string class_name
        string handle_state
        vector[CConcurrencyGroup] concurrency_groups

    cdef cppclass COptionalCreation "std::optional<rayc::ActorCreationSpec>":
        c_bool has_value() const
        const CActorCreationSpec& value() const

    cdef cppclass CTaskSpec "rayc::TaskSpec":
        CTaskType type
        CJobId job_id
        CTaskId task_id
        CTaskId parent_task_id
        string name
        CFunctionDescriptor function
        CAddress caller
        vector[CTaskArg] args
        string runtime_env
        uint32_t num_returns
        int32_t max_retries
        c_bool retry_exceptions
        string retry_exception_types
        uint32_t attempt
        CResourceSet resources
        CResourceSet placement_resources
        COptionalCreation creation
        CActorId actor_id
        CObjectId ReturnId(uint32_t) const
