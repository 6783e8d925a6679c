"""What a driver, task or actor can learn about itself."""

from __future__ import annotations

from typing import Any

from rayc._private.driver_log import warn
from rayc._private.worker import global_worker
from rayc._raylet import (
    SCRIPT_MODE,
    ActorID,
    CoreWorker,
    JobID,
    NodeID,
    TaskID,
    current_placement_group,
    name_of_own_actor,
)
from rayc.actor import ActorHandle, current_actor_handle

__all__ = ["RuntimeContext", "get_runtime_context"]


class RuntimeContext:
    """Where this code runs. One object per process, also valid in threads."""

    def get_job_id(self) -> str:
        """Return the id of the job, in hexadecimal."""
        return _core("job").job_id.hex()

    def get_node_id(self) -> str:
        """Return the id of the node, in hexadecimal."""
        return _core("node").node_id.hex()

    def get_worker_id(self) -> str:
        """Return the id of this process in the cluster, in hexadecimal."""
        return _core("worker").worker_id.hex()

    def get_session_name(self) -> str:
        """Return the name of the session."""
        _core("session")
        return global_worker.session_name

    def get_task_id(self) -> str | None:
        """Return the id of the task that this thread runs; None on a driver."""
        if self._warn_on_driver("get_task_id"):
            return None
        task_id = _core("task").get_current_task_id()
        return None if task_id.is_nil() else task_id.hex()

    def get_task_name(self) -> str | None:
        """Return the task's option ``name``, else its function's or method's name."""
        if self._warn_on_driver("get_task_name"):
            return None
        return _core("task").get_current_task_name() or None

    def get_task_function_name(self) -> str | None:
        """Return the name of the task's function or method, with its module."""
        if self._warn_on_driver("get_task_function_name"):
            return None
        spec = _core("task").get_current_task_spec()
        if spec is None:
            return None
        code = spec.function_descriptor
        parts = (code.module_name, code.class_name, code.function_name)
        return ".".join(part for part in parts if part)

    def get_actor_id(self) -> str | None:
        """Return the id of the actor whose method this is; None elsewhere."""
        actor_id = _core("actor").get_current_actor_id()
        return None if actor_id.is_nil() else actor_id.hex()

    def get_actor_name(self) -> str | None:
        """Return the name of the actor whose method this is; "" if it has none; None elsewhere."""
        _core("actor")
        return name_of_own_actor()

    def get_placement_group_id(self) -> str | None:
        """Return the id of the placement group that this runs in; None outside of groups."""
        group, _ = current_placement_group(_core("placement group"))
        return None if group is None else group.hex()

    @property
    def should_capture_child_tasks_in_placement_group(self) -> bool:
        """Whether tasks go into the same placement group by default; True on a driver."""
        if global_worker.mode == SCRIPT_MODE:
            return True
        return current_placement_group(_core("placement group"))[1]

    def get_assigned_resources(self) -> dict[str, float]:
        """Return the resources that this task or actor holds.

        Raises
        ------
        AssertionError
            On a driver.
        """
        if global_worker.mode == SCRIPT_MODE:
            raise AssertionError("get_assigned_resources() is for tasks and actors, not the driver")
        return _core("task").get_assigned_resources()

    def get_accelerator_ids(self) -> dict[str, list[str]]:
        """Return the ids of the accelerators that this task or actor was given."""
        from rayc._private.worker import get_gpu_ids

        return {"GPU": [str(one) for one in get_gpu_ids()]}

    def get_node_labels(self) -> dict[str, str]:
        """Return the labels of the node."""
        return {"ray.io/node-id": self.get_node_id()}

    @property
    def namespace(self) -> str:
        """The namespace of the job."""
        _core("namespace")
        return global_worker.namespace

    @property
    def runtime_env(self) -> dict[str, Any]:
        """The runtime environment of this process."""
        from rayc.runtime_env import RuntimeEnv

        _core("runtime environment")
        return RuntimeEnv(**global_worker.runtime_env)

    def get_runtime_env_string(self) -> str:
        """Return the runtime environment as JSON."""
        import json

        return json.dumps(self.runtime_env, sort_keys=True)

    @property
    def gcs_address(self) -> str:
        """Where the GCS listens."""
        return f"{_core('GCS').session_dir}/sockets/gcs"

    def get_temp_dir(self) -> str:
        """Return the folder that holds the folders of sessions."""
        import os

        return os.path.dirname(_core("session").session_dir)

    @property
    def current_actor(self) -> ActorHandle:
        """A weak handle to the actor whose method this is.

        Raises
        ------
        RuntimeError
            Outside of actors.
        """
        return current_actor_handle()

    @property
    def was_current_actor_reconstructed(self) -> bool:
        """Whether this actor was restarted after its process had ended."""
        return _core("actor").was_actor_restarted()

    def is_canceled(self) -> bool:
        """Return whether somebody has cancelled the task that this thread runs.

        Raises
        ------
        RuntimeError
            On a driver, and in an asyncio actor, whose calls get a CancelledError instead.
        """
        core = _core("task")
        if global_worker.mode == SCRIPT_MODE:
            raise RuntimeError("is_canceled() is for tasks and actors, not the driver")
        if core.is_in_async_actor():
            raise RuntimeError(
                "is_canceled() is not for asyncio actors: a call that is cancelled gets an "
                "asyncio.CancelledError where it waits"
            )
        return core.is_current_task_cancelled()

    @property
    def job_id(self) -> JobID:
        """The id of the job (deprecated: use `get_job_id`)."""
        return _core("job").job_id

    @property
    def node_id(self) -> NodeID:
        """The id of the node (deprecated: use `get_node_id`)."""
        return _core("node").node_id

    @property
    def task_id(self) -> TaskID:
        """The id of the task (deprecated: use `get_task_id`)."""
        return _core("task").get_current_task_id()

    @property
    def actor_id(self) -> ActorID:
        """The id of the actor (deprecated: use `get_actor_id`)."""
        return _core("actor").get_current_actor_id()

    def get(self) -> dict[str, Any]:
        """Return all ids in a dict (deprecated)."""
        context: dict[str, Any] = {"job_id": self.job_id, "node_id": self.node_id}
        context["namespace"] = self.namespace
        if global_worker.mode != SCRIPT_MODE:
            context["task_id"] = self.task_id
            if self.get_actor_id() is not None:
                context["actor_id"] = self.actor_id
        return context

    def _warn_on_driver(self, call: str) -> bool:
        _core("task")
        if global_worker.mode != SCRIPT_MODE:
            return False
        warn(f"{call}() is for tasks and actors; on a driver it returns None")
        return True


def _core(what: str) -> CoreWorker:
    if global_worker.core_worker is None:
        global_worker.check_not_forked()
        raise RuntimeError(f"There is no {what} before rayc.init() was called")
    return global_worker.core_worker


_context = RuntimeContext()


def get_runtime_context() -> RuntimeContext:
    """Return what this driver, task or actor can learn about itself."""
    global_worker.connected()
    return _context
