"""The only door between Python and the cluster (Cython, over src/core_worker)."""

import asyncio
import concurrent.futures
from collections.abc import Awaitable, Callable, Generator, Sequence
from typing import Any, Generic, TypeVar, final

from rayc._private.node_memory import NodeMemory

T = TypeVar("T")
_ID = TypeVar("_ID", bound="BaseID")

SCRIPT_MODE: int
WORKER_MODE: int
LOCAL_MODE: int
build_version: str  # as rayc.__version__, which costs a look at the installed packages
CANCEL_SIGNAL: int

class BaseID:
    def __init__(self, binary: bytes) -> None: ...
    @classmethod
    def from_binary(cls: type[_ID], binary: bytes) -> _ID: ...
    @classmethod
    def from_hex(cls: type[_ID], hex_id: str | bytes) -> _ID: ...
    @classmethod
    def from_random(cls: type[_ID]) -> _ID: ...
    @classmethod
    def nil(cls: type[_ID]) -> _ID: ...
    def binary(self) -> bytes: ...
    def hex(self) -> str: ...
    def is_nil(self) -> bool: ...

class UniqueID(BaseID):
    @classmethod
    def size(cls) -> int: ...

class NodeID(BaseID):
    @classmethod
    def size(cls) -> int: ...

class WorkerID(BaseID):
    @classmethod
    def size(cls) -> int: ...

class FunctionID(BaseID):
    @classmethod
    def size(cls) -> int: ...

class ClusterID(BaseID):
    @classmethod
    def size(cls) -> int: ...

class JobID(BaseID):
    @classmethod
    def size(cls) -> int: ...
    @classmethod
    def from_int(cls, value: int) -> JobID: ...
    def int(self) -> int: ...

class ActorID(BaseID):
    @classmethod
    def size(cls) -> int: ...
    @classmethod
    def of(cls, job_id: JobID) -> ActorID: ...
    def job_id(self) -> JobID: ...

class TaskID(BaseID):
    @classmethod
    def size(cls) -> int: ...
    def job_id(self) -> JobID: ...
    def actor_id(self) -> ActorID: ...

class PlacementGroupID(BaseID):
    @classmethod
    def size(cls) -> int: ...
    @classmethod
    def of(cls, job_id: JobID) -> PlacementGroupID: ...

@final
class ObjectRef(BaseID, Awaitable[T], Generic[T]):
    """A reference to an object; holds it alive while it lives."""

    @classmethod
    def size(cls) -> int: ...
    def task_id(self) -> TaskID: ...
    def job_id(self) -> JobID: ...
    def owner_address(self) -> bytes: ...
    def call_site(self) -> str: ...
    def future(self) -> concurrent.futures.Future[T]: ...
    def as_future(self) -> asyncio.Future[T]: ...
    def __await__(self) -> Generator[Any, None, T]: ...
    def _on_completed(self, callback: Callable[[Any], None]) -> None: ...

ObjectID = ObjectRef

@final
class PythonFunctionDescriptor:
    def __init__(
        self,
        module_name: str,
        function_name: str,
        class_name: str = "",
        function_source_hash: str = "",
    ) -> None: ...
    @classmethod
    def from_function(
        cls, function: Callable[..., Any], function_uuid: str
    ) -> PythonFunctionDescriptor: ...
    @classmethod
    def from_class(cls, target_class: type) -> PythonFunctionDescriptor: ...
    @classmethod
    def from_message(cls, message: bytes) -> PythonFunctionDescriptor: ...
    def to_message(self) -> bytes: ...
    @property
    def module_name(self) -> str: ...
    @property
    def class_name(self) -> str: ...
    @property
    def function_name(self) -> str: ...
    @property
    def function_hash(self) -> str: ...
    @property
    def function_id(self) -> FunctionID: ...
    @property
    def repr(self) -> str: ...
    def to_dict(self) -> dict[str, str]: ...
    def is_actor_method(self) -> bool: ...

@final
class TaskSpecification:
    """Read-only view of a task."""

    @staticmethod
    def from_bytes(message: bytes) -> TaskSpecification: ...
    def to_bytes(self) -> bytes: ...
    @property
    def task_id(self) -> TaskID: ...
    @property
    def job_id(self) -> JobID: ...
    @property
    def parent_task_id(self) -> TaskID: ...
    @property
    def actor_id(self) -> ActorID: ...
    @property
    def task_type(self) -> int: ...
    @property
    def name(self) -> str: ...
    @property
    def function_descriptor(self) -> PythonFunctionDescriptor: ...
    @property
    def num_returns(self) -> int: ...
    @property
    def max_retries(self) -> int: ...
    @property
    def attempt_number(self) -> int: ...
    @property
    def required_resources(self) -> dict[str, float]: ...
    @property
    def required_placement_resources(self) -> dict[str, float]: ...
    @property
    def caller_worker_id(self) -> WorkerID: ...
    @property
    def num_args(self) -> int: ...

def interrupt_current_task(signum: int, frame: Any) -> None:
    """A worker's handler of CANCEL_SIGNAL: raises KeyboardInterrupt if its task was cancelled."""

@final
class SubmitOptions:
    """What does not change between calls of one function (or method) with the same options.

    Made once, kept by the RemoteFunction / ActorMethod / after `.options(...)`.
    """

    def __init__(
        self,
        descriptor: PythonFunctionDescriptor,
        *,
        name: str = "",  # "" = the descriptor's call name
        num_returns: int = 1,
        resources: dict[str, float] | None = None,
        placement_resources: dict[str, float] | None = None,  # None = same as resources
        max_retries: int = 0,
        retry_exceptions: bool = False,
        retry_exception_types: bytes = b"",  # a pickled tuple of classes; b"" = all
        runtime_env: str = "",  # canonical JSON
        concurrency_group: str = "",
        strategy: SchedulingStrategy | None = None,  # None = the caller's group if it captures
    ) -> None: ...
    descriptor: PythonFunctionDescriptor
    num_returns: int

@final
class SchedulingStrategy:
    """Where a task or actor is to run, beyond what its resources say."""

    def __init__(
        self,
        *,
        placement_group: PlacementGroupID | None = None,
        bundle_index: int = -1,  # -1 = any
        captures_children: bool = False,
        node_text: str = "",  # "" = any node; else which one, for messages
        node_id: NodeID | None = None,  # None with a text = there is no such node
        node_is_soft: bool = False,
        fails_if_busy: bool = False,
    ) -> None: ...

@final
class ActorOptions:
    def __init__(
        self,
        *,
        max_restarts: int = 0,
        max_task_retries: int = 0,
        max_concurrency: int = 1,
        is_asyncio: bool = False,
        is_detached: bool = False,
        allow_out_of_order: bool = False,
        name: str = "",
        namespace: str = "",
        class_name: str = "",
        handle_state: bytes = b"",  # pickled; given back by get_named_actor
        concurrency_groups: dict[str, int] | None = None,
    ) -> None: ...

@final
class CoreWorker:
    """One per process. Raises the exceptions of rayc.exceptions.

    `args` of the submit calls are flat: positional values first, then each keyword value; their
    names come in `kwarg_names`. An ObjectRef at top level becomes its value in the callee.
    """

    def __init__(
        self,
        *,
        mode: int,
        session_dir: str,
        namespace: str = "",
        entrypoint: str = "",
        job_config: bytes = b"",  # pickled; a worker gets it with its first task
        owns_cluster: bool = False,
        fork_token: int = 0,
        worker_id: bytes = b"",  # WORKER_MODE: from the fork request
        log_level: str = "warning",
    ) -> None: ...
    job_id: JobID
    node_id: NodeID
    worker_id: WorkerID
    session_dir: str

    # tasks and actors
    def submit_task(
        self, options: SubmitOptions, args: Sequence[Any], kwarg_names: Sequence[str]
    ) -> list[ObjectRef[Any]]: ...
    def create_actor(
        self,
        options: SubmitOptions,
        actor: ActorOptions,
        args: Sequence[Any],
        kwarg_names: Sequence[str],
    ) -> ObjectRef[Any]:
        """The handle reference: its task_id().actor_id() names the actor, and it keeps it alive.

        A taken name raises ActorAlreadyExistsError here.
        """
    def submit_actor_task(
        self,
        actor_id: ActorID,
        options: SubmitOptions,
        args: Sequence[Any],
        kwarg_names: Sequence[str],
        max_task_retries: int = 0,
        max_pending_calls: int = -1,
    ) -> list[ObjectRef[Any]]:
        """Raises PendingCallsLimitExceeded if so many calls of this process are pending."""
    def cancel_task(self, ref: ObjectRef[Any], force: bool, recursive: bool) -> None:
        """ValueError if `force` is given for the call of an actor."""
    def kill_actor(self, actor_id: ActorID, no_restart: bool) -> None: ...
    def get_named_actor(self, name: str, namespace: str) -> tuple[ActorID, bytes] | None:
        """(actor id, handle_state), or None."""
    def list_named_actors(self, all_namespaces: bool, namespace: str) -> list[tuple[str, str]]: ...

    # objects
    def put(self, value: Any) -> ObjectRef[Any]: ...
    def get(
        self, refs: Sequence[ObjectRef[Any]], timeout_ms: int = -1, copy: bool = False
    ) -> list[Any]:
        """Values in order; raises the error of the first failed one, GetTimeoutError."""
    def wait(
        self, refs: list[ObjectRef[Any]], num_returns: int, timeout_ms: int, fetch_local: bool
    ) -> tuple[list[ObjectRef[Any]], list[ObjectRef[Any]]] | None: ...

    # GCS
    def kv_put(self, key: bytes, value: bytes, namespace: str, overwrite: bool = True) -> bool:
        """Whether the key existed."""
    def kv_get(self, key: bytes, namespace: str, wait_ms: int = 0) -> bytes | None: ...
    def kv_del(self, key: bytes, namespace: str, by_prefix: bool = False) -> int: ...
    def kv_keys(self, prefix: bytes, namespace: str) -> list[bytes]: ...
    def get_nodes(self) -> list[dict[str, Any]]: ...

    # the current task (of the calling thread); nil / "" / None where there is none
    def get_current_task_spec(self) -> TaskSpecification | None: ...
    def get_current_task_id(self) -> TaskID: ...
    def get_current_actor_id(self) -> ActorID: ...
    def get_current_task_name(self) -> str: ...
    def is_current_task_cancelled(self) -> bool: ...
    def is_in_async_actor(self) -> bool: ...
    def was_actor_restarted(self) -> bool: ...
    def get_assigned_instances(self) -> dict[str, list[int]]: ...
    def get_assigned_resources(self) -> dict[str, float]: ...
    def get_job_config(self, job_id: JobID) -> bytes: ...

    # the life of the process
    def run_task_loop(self) -> None:
        """A worker's main thread: executes tasks until it is told to leave.

        Raises SystemExit with the exit code if that is not 0, and what a signal handler raised.
        """
    def exit_detail(self) -> str:
        """Why the task loop ended, for people."""
    def wait_logs(self, timeout_ms: int) -> None:
        """Driver: waits until there are lines to take, or the time is over, or all is shut down."""
    def take_logs(self, timeout_ms: int) -> list[tuple[str, int, bool, str]] | None:
        """Driver: (name, pid, is_stderr, line) of workers, waiting at most timeout_ms for the first
        (GIL released). None once the worker is shut down."""
    def announce_exit(self, exit_code: int, detail: str) -> None: ...
    def shutdown(self) -> None:
        """Disconnects; with owns_cluster ends the cluster first and waits until it is gone."""
    def is_connected(self) -> bool: ...
    def set_title(self, title: str) -> None: ...

def set_process_title(title: str) -> None:
    """What ps shows, within the room that the command line of this process has."""

@final
class Zygote:
    """The zygote's end of its socket to the raylet (fd: see RAYC_ZYGOTE_FD). Not thread-safe."""

    def __init__(self, fd: int) -> None: ...
    def ready(self) -> None: ...
    def receive(self, timeout_ms: int) -> tuple[str, ...] | None:
        """Next request: ("fork", fork_token: int, worker_id: bytes, stdout_fd: int,
        stderr_fd: int), ("shutdown",), ("closed",) when the raylet is gone, None at the timeout
        or a signal."""
    def forked(self, fork_token: int, pid: int, error: str = "") -> None: ...
    def reaped(self, pid: int, status: int) -> None: ...
    def close(self) -> None: ...

def become_subreaper() -> None: ...
def die_with_parent(expected_parent_pid: int) -> bool:
    """PR_SET_PDEATHSIG=SIGKILL; False if the parent is gone already."""

# Installed by rayc._private.worker when it is imported; called by the extension.
def install_hooks(
    *,
    get_execution_info: Callable[[JobID, PythonFunctionDescriptor], Any],
    load_actor_class: Callable[[JobID, PythonFunctionDescriptor], type],
    make_task_error: Callable[[BaseException, str, str], BaseException],
    actors: dict[ActorID, Any],
    execution_infos: dict[Any, Any],
    exceptions: Any,
    # (job, its config, runtime environment as JSON): before a worker's first task.
    before_first_task: Callable[[JobID, bytes, str], None],
    # Prints what has arrived of workers' output; called before a get or wait returns results of
    # tasks that printed.
    flush_logs: Callable[[], None] | None = None,
    # (resources, instances): before a task or actor that holds others than the last one.
    apply_resources: Callable[[dict[str, float], dict[str, list[int]]], None] | None = None,
) -> None: ...
def node_memory(
    raylet_socket: str,  # "" = a store without a cluster
    plasma_socket: str,
    *,
    check: bool = False,  # also run the store's invariants: "problem"
    timeout_ms: int = 2000,  # for the raylet, then for all other processes at once
) -> NodeMemory:
    """Ask all processes of a node, and its store, for their objects. Needs no CoreWorker."""

# For tests and tools: a value as it would be stored, (tag, bytes), and back.
def serialize_to_bytes(value: Any) -> tuple[bytes, bytes]: ...
def deserialize_from_bytes(tag: bytes, data: bytes) -> Any: ...
def create_placement_group(
    worker: CoreWorker,
    bundles: list[dict[str, float]],
    *,
    strategy: int,
    name: str = "",
    namespace: str = "",
    is_detached: bool = False,
    soft_target: NodeID | None = None,
) -> PlacementGroupID: ...
def wait_placement_group(worker: CoreWorker, group: PlacementGroupID, timeout_ms: int) -> bool: ...
def placement_group_ready(
    worker: CoreWorker, group: PlacementGroupID, value: Any
) -> ObjectRef[Any]: ...
def remove_placement_group(worker: CoreWorker, group: PlacementGroupID) -> None: ...
def find_placement_group(
    worker: CoreWorker, group: PlacementGroupID | None, name: str = "", namespace: str = ""
) -> dict[str, Any] | None: ...
def list_placement_groups(worker: CoreWorker) -> list[dict[str, Any]]: ...
def name_of_own_actor() -> str | None: ...
def current_placement_group(worker: CoreWorker) -> tuple[PlacementGroupID | None, bool]: ...

# ---- of the extension itself; nobody makes these ----
@final
class PinnedBuffer:
    """Bytes of an object, as out-of-band buffers of pickle see them."""

@final
class SerializedValue:
    """A value on its way into an object."""

@final
class CompletionThread:
    """Calls what waits for references: futures, and `await`."""

    def close(self) -> None: ...

@final
class TaskCode:
    """What a worker keeps about code that it has run."""

@final
class AsyncCall:
    """A call at work in the event loop of an asyncio actor."""

    def finish(self, *args: Any) -> None: ...

def construct(cls: type, actor_id: ActorID, args: list[Any], kwargs: dict[str, Any]) -> Any: ...
def take_async_calls() -> bool:
    """Start the calls that wait; returns whether more may wait."""
