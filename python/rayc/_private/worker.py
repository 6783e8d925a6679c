"""The state of this process as a member of a cluster, and what is asked about it.

`global_worker` exists once. A driver fills it in `init` (session.py), a worker when its
process begins (worker_main.py). Importing this module gives the extension its hooks.
"""

from __future__ import annotations

import os
import pickle
import sys
import threading
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, TypedDict

from rayc import _raylet, exceptions
from rayc._private.environment import flag
from rayc._private.function_manager import FunctionActorManager
from rayc._raylet import SCRIPT_MODE, WORKER_MODE, ActorID, CoreWorker, JobID

if TYPE_CHECKING:
    from rayc._private.task_environment import TaskEnvironment


class JobSettings(TypedDict, total=False):
    """What a driver tells the workers of its job; pickled into CoreWorker's `job_config`."""

    namespace: str
    sys_path: list[str]
    runtime_env: dict[str, Any]
    code_search_path: list[str]
    default_actor_lifetime: str
    metadata: dict[str, str]
    visible_gpus: list[str]


class Worker:
    """This process's connection to a cluster.

    Attributes
    ----------
    generation : int
        Counts connections: 0 while there is none, and never the same twice. What is kept
        between calls compares it to know whether it belongs to the session of now.
    mode : int or None
        SCRIPT_MODE, WORKER_MODE, or None while not connected.
    core_worker : CoreWorker or None
        The extension's object; None while not connected.
    session : Session or None
        The driver's session, if this process is a driver.
    runtime_env : dict
        That of this process: a driver's is its job's.
    actors : dict
        The actor that lives here, by its id.
    lock : RLock
        Held while connecting and shutting down.
    """

    def __init__(self) -> None:
        self.generation = 0
        self.mode: int | None = None
        self.core_worker: CoreWorker | None = None
        self.session: Any = None
        self.session_name = ""
        self.namespace = ""
        self.job_settings: JobSettings = {}
        self.runtime_env: dict[str, Any] = {}
        self.actors: dict[ActorID, Any] = {}
        self.function_actor_manager = FunctionActorManager(self)
        self.lock = threading.RLock()
        self._generations = 0
        self._forked_from: int | None = None
        self._left_to_parent: Any = None
        self._at_fork_installed = False

    @property
    def node(self) -> Any:
        """The node that this process started, if it did."""
        return self.session.node if self.session is not None else None

    def connect(self, mode: int, core_worker: CoreWorker, session_dir: str) -> None:
        """Become a member of a cluster."""
        if not self._at_fork_installed:
            os.register_at_fork(after_in_child=self._after_fork_in_child)
            self._at_fork_installed = True
        self.mode = mode
        self.core_worker = core_worker
        self.session_name = os.path.basename(session_dir)
        self._generations += 1
        self.generation = self._generations

    def disconnect(self) -> None:
        """Forget the cluster."""
        self.generation = 0
        self.mode = None
        self.core_worker = None
        self.session = None
        self.namespace = ""
        self.job_settings = {}
        self.runtime_env = {}
        self.actors.clear()
        self.function_actor_manager.clear()

    def _after_fork_in_child(self) -> None:
        if self.core_worker is None:
            return
        # Nothing of the parent's connection may be used or closed here.
        self._forked_from = os.getppid()
        self._left_to_parent = (self.core_worker, self.session)
        self.lock = threading.RLock()
        self.function_actor_manager.lock = threading.RLock()
        self.generation = 0
        self.mode = None
        self.core_worker = None
        self.session = None

    def runtime_env_of_call(self, options: Mapping[str, Any]) -> str:
        """Return the runtime environment of a task or actor with these options, as it travels."""
        option = options.get("runtime_env")
        job = self.job_settings.get("runtime_env", {})
        if not option and self.runtime_env is job:
            return ""
        from rayc._private.runtime_env import of_call

        return of_call(option, self.runtime_env, job)

    def check_not_forked(self) -> None:
        """Refuse to go on in a process that was forked from a connected one."""
        if self._forked_from is not None:
            raise RuntimeError(
                f"This process (pid {os.getpid()}) was forked from process "
                f"{self._forked_from}, which owns the rayc session {self.session_name!r}. A "
                "fork cannot use it: start the child with the 'spawn' method, or use tasks."
            )

    def connected(self) -> CoreWorker:
        """Return the core worker; start a session first if there is none."""
        core = self.core_worker
        return core if core is not None else self._auto_init()

    def _auto_init(self) -> CoreWorker:
        self.check_not_forked()
        if not flag("ENABLE_AUTO_CONNECT", True):
            raise exceptions.RaySystemError(
                "rayc has not been started, and RAYC_ENABLE_AUTO_CONNECT=0: call rayc.init() first"
            )
        from rayc.api import init

        with self.lock:
            if self.core_worker is None:
                init()
        if self.core_worker is None:
            raise exceptions.RaySystemError("the session ended while it was being started")
        return self.core_worker

    def existing(self) -> CoreWorker:
        """Return the core worker; raise if there is no session."""
        self.check_not_forked()
        if self.core_worker is None:
            raise exceptions.RaySystemError("rayc has not been started: call rayc.init() first")
        return self.core_worker

    def check_session_of(self, what: str, session_name: str) -> None:
        """Raise for something that was kept from an earlier session."""
        self.check_not_forked()
        error = ValueError(stale_message(what, session_name, self))
        error.of_earlier_session = True  # type: ignore[attr-defined]  # for the pickler
        raise error


def stale_message(what: str, session_name: str, worker: Worker) -> str:
    """Say that something belongs to an earlier session."""
    now = (
        f"the session now is {worker.session_name!r}"
        if worker.core_worker is not None
        else "there is no session now"
    )
    return f"{what} belongs to the session {session_name!r}, which has ended; {now}"


global_worker = Worker()


# Called by the extension ---------------------------------------------------------------


def _make_task_error(
    exception: BaseException, function_name: str, traceback_text: str
) -> BaseException:
    actor_id = actor_repr = None
    core = global_worker.core_worker
    if core is not None:
        current = core.get_current_actor_id()
        actor = global_worker.actors.get(current)
        if not current.is_nil():
            actor_id = current.hex()
        if actor is not None and vars(object)["__repr__"] is not type(actor).__repr__:
            try:
                actor_repr = repr(actor)
            except Exception:
                actor_repr = None  # its own trouble must not hide the error at hand
    from rayc._private.task_errors import make_task_error  # needed only when something fails

    return make_task_error(exception, function_name, actor_repr=actor_repr, actor_id=actor_id)


def _before_first_task(job_id: JobID, job_config: bytes, runtime_env: str) -> None:
    """Make this worker one of the job's, and of a runtime environment ("": the job's)."""
    settings: JobSettings = pickle.loads(job_config) if job_config else {}
    env: dict[str, Any] = settings.get("runtime_env", {})
    if runtime_env:
        import json

        env = json.loads(runtime_env)
    if env:
        from rayc._private.runtime_env_setup import set_up

        core = global_worker.existing()
        set_up(env, core.session_dir, core)
    global_worker.runtime_env = env
    global_worker.job_settings = settings
    global_worker.namespace = settings.get("namespace", "")
    for folder in settings.get("sys_path", ()):
        if folder not in sys.path:
            sys.path.append(folder)


_task_environment: TaskEnvironment | None = None


def _apply_resources(resources: dict[str, float], instances: dict[str, list[int]]) -> None:
    """Set what follows from the resources of the task that is about to run."""
    global _task_environment
    if _task_environment is None:
        from rayc._private.task_environment import TaskEnvironment

        _task_environment = TaskEnvironment()
    names = global_worker.job_settings.get("visible_gpus")
    _task_environment.apply(resources, instances, names)


def _flush_logs() -> None:
    """Print what tasks have printed whose results are about to be seen."""
    session = global_worker.session
    if session is not None:
        session.flush_logs()


_raylet.install_hooks(
    get_execution_info=global_worker.function_actor_manager.get_execution_info,
    load_actor_class=global_worker.function_actor_manager.load_actor_class,
    make_task_error=_make_task_error,
    actors=global_worker.actors,
    execution_infos=global_worker.function_actor_manager.execution_infos,
    exceptions=exceptions,
    before_first_task=_before_first_task,
    flush_logs=_flush_logs,
    apply_resources=_apply_resources,
)


# About the cluster ---------------------------------------------------------------------


def is_initialized() -> bool:
    """Return whether this process is connected to a cluster."""
    return global_worker.core_worker is not None


def nodes() -> list[dict[str, Any]]:
    """Return what is known about each node of the cluster, dead ones included.

    Raises
    ------
    RaySystemError
        Before `init`.
    """
    return [_node_record(node) for node in global_worker.existing().get_nodes()]


def _node_record(node: dict[str, Any]) -> dict[str, Any]:
    node_id = node["node_id"]
    alive = bool(node["is_alive"])
    name = node_id if isinstance(node_id, str) else node_id.hex()
    return {
        "NodeID": name,
        "Alive": alive,
        "alive": alive,
        "NodeManagerAddress": node["ip"],
        "NodeManagerHostname": node["hostname"],
        "NodeManagerPort": 0,
        "ObjectManagerPort": 0,
        "ObjectStoreSocketName": node["plasma_socket"],
        "RayletSocketName": node["raylet_socket"],
        "MetricsExportPort": 0,
        "NodeName": node["ip"],
        "RuntimeEnvAgentPort": 0,
        "DeathReason": 0,
        "DeathReasonMessage": node.get("death_reason", ""),
        "Resources": dict(node["resources"]) if alive else {},
        "Labels": {"ray.io/node-id": name},
    }


def _sum_of(field: str) -> dict[str, float]:
    total: dict[str, float] = {}
    for node in global_worker.existing().get_nodes():
        if node["is_alive"]:
            for name, amount in node[field].items():
                total[name] = total.get(name, 0.0) + amount
    return {name: amount for name, amount in total.items() if amount > 0}


def cluster_resources() -> dict[str, float]:
    """Return the resources that all living nodes have together.

    Raises
    ------
    RaySystemError
        Before `init`.
    """
    return _sum_of("resources")


def available_resources() -> dict[str, float]:
    """Return the resources that are idle now; those of which nothing is left are absent.

    Raises
    ------
    RaySystemError
        Before `init`.
    """
    return _sum_of("available")


def get_gpu_ids() -> list[int] | list[str]:
    """Return the GPUs that this worker's task or actor was given; none on a driver.

    They are numbers, or the names that the variable CUDA_VISIBLE_DEVICES had for them
    when the cluster was started.
    """
    core = global_worker.connected()
    if global_worker.mode == SCRIPT_MODE:
        return []
    ids = core.get_assigned_instances().get("GPU", [])
    names = global_worker.job_settings.get("visible_gpus")
    return [names[index] for index in ids] if names else list(ids)


def in_worker() -> bool:
    """Return whether this process runs tasks or an actor."""
    return global_worker.mode == WORKER_MODE
