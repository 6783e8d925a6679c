"""rayc: tasks, actors and shared objects for Python, on a small and fast C++ core.

Importing this package costs next to nothing: every public name is loaded when it is
first used.
"""

TYPE_CHECKING = False
if TYPE_CHECKING:  # type checkers know this name; the real one costs an import of typing
    from rayc import actor, exceptions, remote_function, util
    from rayc import runtime_context as runtime_context
    from rayc._private.worker import (
        available_resources,
        cluster_resources,
        get_gpu_ids,
        is_initialized,
        nodes,
    )
    from rayc._raylet import (
        LOCAL_MODE,
        SCRIPT_MODE,
        WORKER_MODE,
        ActorID,
        ClusterID,
        FunctionID,
        JobID,
        NodeID,
        ObjectID,
        ObjectRef,
        PlacementGroupID,
        TaskID,
        UniqueID,
        WorkerID,
    )
    from rayc.actor import method
    from rayc.api import (
        cancel,
        get,
        get_actor,
        init,
        kill,
        put,
        remote,
        shutdown,
        wait,
    )
    from rayc.job_config import JobConfig
    from rayc.runtime_context import get_runtime_context

    __version__: str

__all__ = [
    "LOCAL_MODE",
    "SCRIPT_MODE",
    "WORKER_MODE",
    "ActorID",
    "ClusterID",
    "FunctionID",
    "JobConfig",
    "JobID",
    "NodeID",
    "ObjectID",
    "ObjectRef",
    "PlacementGroupID",
    "TaskID",
    "UniqueID",
    "WorkerID",
    "__version__",
    "actor",
    "available_resources",
    "cancel",
    "cluster_resources",
    "exceptions",
    "get",
    "get_actor",
    "get_gpu_ids",
    "get_runtime_context",
    "init",
    "is_initialized",
    "kill",
    "method",
    "nodes",
    "put",
    "remote",
    "remote_function",
    "shutdown",
    "util",
    "wait",
]

# Where each public name is defined.
_HOMES = {
    "rayc.api": "init shutdown remote get put wait kill cancel get_actor",
    "rayc._private.worker": (
        "is_initialized nodes cluster_resources available_resources get_gpu_ids"
    ),
    "rayc.actor": "method",
    "rayc.job_config": "JobConfig",
    "rayc.runtime_context": "get_runtime_context",
    "rayc._raylet": (
        "ActorID ClusterID FunctionID JobID NodeID ObjectID ObjectRef PlacementGroupID "
        "TaskID UniqueID WorkerID LOCAL_MODE SCRIPT_MODE WORKER_MODE"
    ),
}
_HOME_OF = {name: home for home, names in _HOMES.items() for name in names.split()}
_SUBMODULES = frozenset(
    "actor api exceptions job_config plasma remote_function runtime_context runtime_env "
    "util".split()
)


def __getattr__(name: str) -> object:
    """Load a public name at its first use."""
    from importlib import import_module

    home = _HOME_OF.get(name)
    if home is None and name not in _SUBMODULES:
        if name != "__version__":
            raise AttributeError(f"module 'rayc' has no attribute {name!r}")
        value: object = _installed_version()
    else:
        try:
            module = import_module(home or f"rayc.{name}")
        except ImportError:
            from importlib.util import find_spec

            if find_spec("rayc._raylet") is not None:
                raise
            raise ImportError(
                f"rayc's compiled extension is not built beside {__file__}. In a source "
                "tree, run `pip install .` and use rayc from another folder, or "
                "`pip install -e .` to work on it in place.",
                name="rayc._raylet",
            ) from None
        value = getattr(module, name) if home else module
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    """List the public names."""
    return sorted({*globals(), *__all__})


def _installed_version() -> str:
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version("rayc")
    except PackageNotFoundError:
        return "0+unknown"
