# src/core_worker and the helpers beside this file, as Cython sees them.
from libc.stdint cimport int32_t, int64_t, uint8_t, uint32_t, uint64_t
from libcpp cimport bool as c_bool
from libcpp.memory cimport shared_ptr, unique_ptr
from libcpp.pair cimport pair
from libcpp.string cimport string
from libcpp.vector cimport vector

from rayc.includes.common cimport (
    CActorCreationSpec,
    CAddress,
    CBuffer,
    CLogLevel,
    CObjectRefInfo,
    CObjectValue,
    CResourceSet,
    CStatus,
    CTaskArg,
    CTaskSpec,
    string_view,
)
from rayc.includes.function_descriptor cimport CFunctionDescriptor
from rayc.includes.unique_ids cimport (
    CActorId,
    CJobId,
    CNodeId,
    CObjectId,
    CPlacementGroupId,
    CTaskId,
    CWorkerId,
)


cdef extern from "plasma/copy.h" namespace "rayc::plasma" nogil:
    void CopyBytes(void* to, const void* source, size_t size)

cdef extern from "core_worker/object_format.h" namespace "rayc::core_worker" nogil:
    size_t kInlineBytesMax
    c_bool IsErrorMetadata(const string&)
    CObjectValue MakeErrorValue(const CStatus&)


cdef extern from "core_worker/language_bridge.h" namespace "rayc::core_worker" nogil:
    ctypedef vector[pair[string, vector[uint32_t]]] CAssignedInstances \
        "rayc::core_worker::AssignedInstances"

    cdef cppclass CReturnObject "rayc::core_worker::ReturnObject":
        CObjectValue value
        c_bool in_plasma
        uint64_t size
        vector[CObjectRefInfo] nested

    cdef cppclass CTaskExecution "rayc::core_worker::TaskExecution":
        shared_ptr[const CTaskSpec] spec
        vector[CObjectValue] args
        CAssignedInstances assigned
        string job_config

    cdef cppclass CTaskResult "rayc::core_worker::TaskResult":
        vector[CReturnObject] returns
        c_bool is_application_error
        c_bool is_final_error
        c_bool printed
        c_bool worker_exiting
        int exit_code
        string exit_detail
        CStatus system_error
        int doorbell_fd

    cdef cppclass CLanguageBridge "rayc::core_worker::LanguageBridge":
        void (*execute_task)(const CTaskExecution&, CTaskResult*) noexcept nogil
        CStatus (*check_signals)() noexcept nogil
        void (*interrupt_main)() noexcept nogil


cdef extern from "common/scheduling_strategy.h" namespace "rayc" nogil:
    cdef cppclass CSchedulingStrategy "rayc::SchedulingStrategy":
        CSchedulingStrategy()
        CPlacementGroupId group
        int32_t bundle_index
        c_bool captures_children
        string node_text
        CNodeId node
        c_bool node_is_soft
        c_bool fails_if_busy
        c_bool InGroup() const


cdef extern from "core_worker/placement_groups.h" namespace "rayc::core_worker" nogil:
    cdef cppclass CPlacementGroupSpec "rayc::core_worker::PlacementGroupSpec":
        CPlacementGroupSpec()
        string name
        string name_space
        int strategy
        vector[CResourceSet] bundles
        c_bool is_detached
        CNodeId soft_target

    cdef cppclass CPlacementGroupRecord "rayc::core_worker::PlacementGroupRecord":
        CPlacementGroupRecord()
        CPlacementGroupId id
        string name
        string name_space
        int strategy
        vector[CResourceSet] bundles
        vector[CNodeId] nodes
        int state
        string failure
        uint64_t created_after_us
        uint32_t attempts


cdef extern from "core_worker/options.h" namespace "rayc::core_worker" nogil:
    cdef enum class CWorkerMode "rayc::core_worker::WorkerMode":
        kScript
        kWorker
        kLocal

    cdef cppclass CCoreWorkerOptions "rayc::core_worker::CoreWorkerOptions":
        CCoreWorkerOptions()
        CWorkerMode mode
        string session_dir
        string name_space
        string entrypoint
        string job_config
        c_bool owns_cluster
        uint64_t fork_token
        CWorkerId worker_id
        CLogLevel log_level
        c_bool records_call_sites
        CLanguageBridge bridge

    cdef cppclass CTaskOptions "rayc::core_worker::TaskOptions":
        CTaskOptions()
        CFunctionDescriptor function
        string name
        uint32_t num_returns
        CResourceSet resources
        CResourceSet placement_resources
        int32_t max_retries
        c_bool retry_exceptions
        string retry_exception_types
        string runtime_env
        CSchedulingStrategy strategy
        c_bool inherits_group
        string concurrency_group
        void Seal()


cdef extern from "core_worker/task_executor.h" namespace "rayc::core_worker" nogil:
    cdef cppclass CTaskContext "rayc::core_worker::TaskContext":
        shared_ptr[const CTaskSpec] spec
        CAssignedInstances assigned

    CTaskContext* CurrentTask "rayc::core_worker::TaskExecutor::Current"()
    void SetCurrentTask "rayc::core_worker::TaskExecutor::SetCurrent"(CTaskContext*)
    shared_ptr[CTaskContext] CurrentTaskShared \
        "rayc::core_worker::TaskExecutor::CurrentShared"()
    c_bool EnterOwnCode "rayc::core_worker::TaskExecutor::EnterOwnCode"()
    void LeaveOwnCode "rayc::core_worker::TaskExecutor::LeaveOwnCode"()
    c_bool TakeInterrupt "rayc::core_worker::TaskExecutor::TakeInterrupt"()


cdef extern from "core_worker/core_worker.h" namespace "rayc::core_worker" nogil:
    cdef cppclass CLogLine "rayc::core_worker::LogLine":
        string name
        int pid
        c_bool is_stderr
        string text

    cdef cppclass CNamedActor "rayc::core_worker::NamedActor":
        CNamedActor()
        CActorId actor_id
        string handle_state

    cdef cppclass CNodeRecord "rayc::core_worker::NodeRecord":
        CNodeId node_id
        string ip
        string hostname
        string raylet_socket
        string plasma_socket
        c_bool is_alive
        c_bool is_head
        CResourceSet resources
        CResourceSet available
        string death_reason

    cdef cppclass CCoreWorker "rayc::core_worker::CoreWorker":
        const CAddress& self() const
        const CNodeId& node_id() const
        CJobId job_id() const
        c_bool connected() const

        CObjectId NextPutId()
        void Put(const CObjectId&, CObjectValue, uint64_t, const vector[CObjectRefInfo]&)
        CStatus SealInPlasma(const CObjectId&)
        void AbortInPlasma(const CObjectId&)
        CStatus Get(const vector[CObjectId]&, int64_t, vector[CObjectValue]*)
        CStatus Wait(const vector[CObjectId]&, size_t, int64_t, vector[c_bool]*)

        void AddLocalRef(const CObjectRefInfo&, const CObjectId&)
        void CopyLocalRef(const CObjectId&)
        void RemoveLocalRef(const CObjectId&)
        CAddress OwnerOf(const CObjectId&)
        void HoldForever(const CObjectId&)
        void SetCallSite(const CObjectId&, string)
        string CallSiteOf(const CObjectId&)

        CStatus SubmitTask(const CTaskOptions&, vector[CTaskArg], vector[CObjectId]*)
        CStatus CreateActor(const CTaskOptions&, CActorCreationSpec, vector[CTaskArg], CObjectId*)
        CStatus SubmitActorTask(const CActorId&, const CTaskOptions&, vector[CTaskArg], int32_t,
                                vector[CObjectId]*)
        CStatus KillActor(const CActorId&, c_bool)
        CStatus CancelTask(const CObjectId&, c_bool, c_bool)
        size_t NumPendingCalls(const CActorId&) const

        c_bool TakeAsyncCall(CTaskExecution*, shared_ptr[CTaskContext]*)
        void FinishAsyncCall(const CTaskId&, CTaskResult*)
        vector[CTaskId] TakeCancelled()

        CStatus CreatePlacementGroup(const CPlacementGroupSpec&, CPlacementGroupId*)
        CStatus WaitPlacementGroup(const CPlacementGroupId&, int64_t, c_bool*)
        CStatus PlacementGroupReady(const CPlacementGroupId&, CObjectValue, CObjectId*)
        void RemovePlacementGroup(const CPlacementGroupId&)
        CStatus GetPlacementGroup(const CPlacementGroupId&, const string&, const string&,
                                  vector[CPlacementGroupRecord]*)
        CStatus ListPlacementGroups(vector[CPlacementGroupRecord]*)
        CSchedulingStrategy CurrentStrategy()

        int RunTaskLoop()
        const string& exit_detail() const
        CStatus TakeLogs(int64_t, vector[CLogLine]*)
        void WaitLogs(int64_t)
        c_bool TakePrinted()
        void Poll()
        void AnnounceExit(int, const string&)
        void Shutdown()


cdef extern from "plasma/client.h" namespace "rayc::plasma" nogil:
    cdef enum class CObjectPlace "rayc::plasma::ObjectPlace":
        kArena
        kSpilled

    cdef cppclass CObjectInfo "rayc::plasma::ObjectInfo":
        CObjectId id
        CWorkerId owner
        uint64_t data_bytes
        uint32_t pins
        int32_t made_by_pid
        c_bool sealed
        CObjectPlace place

    cdef cppclass CListResult "rayc::plasma::ListResult":
        vector[CObjectInfo] objects
        uint64_t used_bytes
        uint64_t granted_bytes
        uint64_t capacity_bytes
        uint64_t spilled_bytes
        string problem


cdef extern from "core_worker/node_memory.h" namespace "rayc::core_worker" nogil:
    cdef cppclass CNodeMemoryOptions "rayc::core_worker::NodeMemoryOptions":
        CNodeMemoryOptions()
        string raylet_socket
        string plasma_socket
        int64_t timeout_ms
        uint32_t references_max
        c_bool check

    cdef enum class CHeldPlace "rayc::core_worker::HeldReference::Place":
        kPending
        kProcess
        kPlasma

    cdef cppclass CHeldReference "rayc::core_worker::HeldReference":
        CObjectId id
        CWorkerId owner
        CHeldPlace place
        uint64_t size
        uint32_t local
        uint32_t submitted
        uint32_t contained
        uint32_t borrowers
        string call_site

    cdef cppclass CProcessMemory "rayc::core_worker::ProcessMemory":
        CWorkerId worker_id
        int pid
        c_bool is_driver
        CStatus status
        c_bool records_call_sites
        uint32_t left_off
        vector[CHeldReference] references

    cdef cppclass CNodeMemory "rayc::core_worker::NodeMemory":
        CNodeMemory()
        vector[CProcessMemory] processes
        CListResult store


cdef extern from "rayc/includes/bridge.h" namespace "rayc::python" nogil:
    CStatus StartCoreWorker(CCoreWorkerOptions, unique_ptr[CCoreWorker]*)
    CStatus CreateInPlasma(CCoreWorker&, const CObjectId&, uint64_t, const string&,
                           const CWorkerId&, uint8_t**)
    CStatus GetNamedActor(CCoreWorker&, const string&, const string&, c_bool*, CNamedActor*)
    CStatus ListNamedActors(CCoreWorker&, c_bool, const string&, vector[pair[string, string]]*)
    CStatus KvPut(CCoreWorker&, const string&, const string&, const string&, c_bool, c_bool*)
    CStatus KvGet(CCoreWorker&, const string&, const string&, int32_t, c_bool*, string*)
    CStatus KvDel(CCoreWorker&, const string&, const string&, c_bool, uint32_t*)
    CStatus KvKeys(CCoreWorker&, const string&, const string&, vector[string]*)
    CStatus GetNodes(CCoreWorker&, vector[CNodeRecord]*)
    CStatus GetJobConfig(CCoreWorker&, const CJobId&, string*)
    CStatus AskNodeMemory(const CNodeMemoryOptions&, CNodeMemory*)
    c_bool HasDuplicates(const vector[CObjectId]&)

    string PackDescriptor(const CFunctionDescriptor&)
    c_bool UnpackDescriptor(string_view, CFunctionDescriptor*)
    string PackAddress(const CAddress&)
    string PackTaskSpec(const CTaskSpec&)
    c_bool UnpackTaskSpec(string_view, shared_ptr[const CTaskSpec]*)
    void DescriptorKey(const CFunctionDescriptor&, string*)
    vector[pair[string, double]] ResourceAmounts(const CResourceSet&)

    IdType IdFrom[IdType](const uint8_t*)
    size_t HashIdBytes(const uint8_t*, size_t)

    cdef cppclass CThreadState "rayc::python::ThreadState":
        vector[CObjectRefInfo]* collector
        const CObjectId* source
    CThreadState thread_state
    void KeepPythonThreadState()

    shared_ptr[CBuffer] CopyToHeap(string_view)
    shared_ptr[CBuffer] NewHeapBuffer(size_t, uint8_t**)
    void ReleaseBuffer(shared_ptr[CBuffer]&)
    void HoldNested(CCoreWorker&, CReturnObject*)
    c_bool IsCancelled(const CTaskContext&)

    cdef cppclass CReadyQueue "rayc::python::ReadyQueue":
        vector[CObjectId] Take()
        void Close()
    shared_ptr[CReadyQueue] NewReadyQueue()
    CStatus WatchObject(CCoreWorker&, const CObjectId&, shared_ptr[CReadyQueue])


cdef extern from "rayc/includes/process.h" namespace "rayc::python" nogil:
    cdef cppclass CForkState "rayc::python::ForkState":
        c_bool has_session
        c_bool is_fork
        int owner_pid
    CForkState fork_state
    void SetHasSession(c_bool)
    c_bool OnMainThread()
    void SetProcessTitle(string_view)
    void SetThreadName(const char*)
    int CancelSignal()
    void InterruptMainThread() noexcept
    int BecomeSubreaper()
    c_bool DieWithParent(int)


cdef extern from "rayc/includes/plain_codec.h" namespace "rayc::python":
    cdef cppclass CPlainEncoder "rayc::python::PlainEncoder":
        c_bool Encode(object)
        string_view bytes() const
    CPlainEncoder& ThreadEncoder()
    object DecodePlain(string_view)


cdef extern from "rayc/includes/pickle_layout.h" namespace "rayc::python" nogil:
    cdef cppclass CPickleWriter "rayc::python::PickleWriter":
        void SetPickle(string_view)
        void AddBuffer(const void*, size_t)
        size_t ComputeSize()
        void WriteTo(uint8_t*) const

    cdef cppclass CBufferPlace "rayc::python::BufferPlace":
        uint64_t offset
        uint64_t bytes

    cdef cppclass CPickleParts "rayc::python::PickleParts":
        CPickleParts()
        string_view pickle
        vector[CBufferPlace] buffers
    c_bool ReadPickleParts(string_view, CPickleParts*)


cdef extern from "rayc/includes/zygote_channel.h" namespace "rayc::python" nogil:
    cdef enum class CZygoteRequestKind "rayc::python::ZygoteRequest::Kind":
        kNone
        kFork
        kShutdown
        kClosed

    cdef cppclass CZygoteRequest "rayc::python::ZygoteRequest":
        CZygoteRequest()
        CZygoteRequestKind kind
        uint64_t fork_token
        CWorkerId worker_id
        int stdout_fd
        int stderr_fd

    cdef cppclass CZygoteChannel "rayc::python::ZygoteChannel":
        CZygoteChannel(int)
        CStatus SendForked(uint64_t, int, const string&)
        CStatus SendReaped(int, int)
        CStatus Receive(int, CZygoteRequest*)
        void Close()
