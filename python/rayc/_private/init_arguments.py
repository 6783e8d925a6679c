"""Checks `init`'s arguments, and turns them into what a session is started with."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from rayc._private import driver_log
from rayc._private import node_resources as found
from rayc._private import runtime_env as environments
from rayc._private.environment import flag
from rayc._private.options import check_namespace, random_name
from rayc._private.session import default_node_resources, search_path_for_workers
from rayc._private.worker import JobSettings
from rayc.job_config import JobConfig

if TYPE_CHECKING:
    from rayc._private.packaging import Package

# Accepted, as programs written for Ray pass them; what they mean has no counterpart here.
_HIDDEN_WITHOUT_EFFECT = frozenset(
    "_enable_object_reconstruction _metrics_export_port _plasma_directory _redis_max_memory "
    "_redis_password _redis_username _tracing_startup_hook".split()
)
_HIDDEN = _HIDDEN_WITHOUT_EFFECT | frozenset(
    "_memory _node_ip_address _node_name _system_config _temp_dir cpu_isolation "
    "object_spilling_directory".split()
)


def check_hidden(hidden: dict[str, Any]) -> None:
    """Check the arguments that are not documented; say which have no effect."""
    unknown = sorted(set(hidden) - _HIDDEN)
    if unknown:
        raise RuntimeError(f"init() has no argument {', '.join(map(repr, unknown))}")
    system_config = hidden.get("_system_config")
    if system_config is not None and not isinstance(system_config, dict):
        raise TypeError(f"_system_config must be a dict, not {system_config!r}")
    isolation = hidden.get("cpu_isolation", "none")
    if isolation not in ("none", "affinity"):
        raise ValueError(f"cpu_isolation must be 'none' or 'affinity', and is {isolation!r}")
    ignored = sorted(
        name for name in hidden if name in _HIDDEN_WITHOUT_EFFECT and hidden[name] is not None
    )
    ignored += [
        name
        for name in ("_system_config", "_node_name", "_node_ip_address")
        if hidden.get(name) not in (None, {}, "127.0.0.1")
    ]
    if ignored:
        driver_log.warn(f"init(): {', '.join(ignored)} has no effect in rayc")


def refuse_missing_features(**arguments: Any) -> None:
    """Raise for arguments that would change what a program means, and cannot be obeyed yet."""
    asked = [name for name, value in arguments.items() if value]
    if asked:
        raise NotImplementedError(f"init(): {', '.join(asked)} is not there yet")


def node_totals(
    num_cpus: int | None,
    num_gpus: int | None,
    resources: dict[str, float] | None,
    object_store_memory: int | None,
    memory: int | None,
) -> tuple[int, dict[str, float]]:
    """Return the size of the object store, and all resources of the node."""
    if num_cpus is not None:
        num_cpus = found.whole_amount("num_cpus", num_cpus)
    if num_gpus is not None:
        num_gpus = found.whole_amount("num_gpus", num_gpus)
        visible = found.visible_gpus()
        if visible is not None and num_gpus > len(visible):
            raise ValueError(
                f"num_gpus={num_gpus}, but CUDA_VISIBLE_DEVICES shows only {len(visible)}"
            )
    custom = found.check_node_resources({} if resources is None else resources)
    if object_store_memory is None:
        store_bytes = found.default_object_store_bytes(found.available_memory_bytes())
    else:
        store_bytes = found.whole_amount("object_store_memory", object_store_memory)
        if store_bytes < found.OBJECT_STORE_BYTES_MIN:
            raise ValueError(
                f"object_store_memory must be at least {found.OBJECT_STORE_BYTES_MIN} bytes "
                f"(75 MiB), and is {store_bytes}"
            )
    if memory is not None:
        memory = found.whole_amount("_memory", memory)
    return store_bytes, default_node_resources(num_cpus, num_gpus, custom, memory, store_bytes)


def cores_to_pin_to(hidden: dict[str, Any], resources: dict[str, float]) -> list[int]:
    """Return the cores that workers are pinned to, for ``cpu_isolation="affinity"``."""
    if hidden.get("cpu_isolation", "none") == "none":
        return []
    cores = sorted(os.sched_getaffinity(0))
    if resources.get("CPU", 0) > len(cores):
        raise ValueError(
            f"cpu_isolation='affinity' gives each CPU a core, and num_cpus={resources['CPU']:g} is "
            f"more than the {len(cores)} that this process may use"
        )
    return cores


def spill_folders(hidden: dict[str, Any]) -> list[str]:
    """Return the folders for what the object store has no memory for, if any are given."""
    given = hidden.get("object_spilling_directory")
    if given is None:
        return []
    folders = [given] if isinstance(given, (str, os.PathLike)) else given
    if not isinstance(folders, (list, tuple)) or not all(
        isinstance(folder, (str, os.PathLike)) for folder in folders
    ):
        raise TypeError(f"object_spilling_directory must be a path, or several, not {given!r}")
    paths = [os.path.abspath(os.fspath(folder)) for folder in folders]
    for path in paths:
        try:
            os.makedirs(path, exist_ok=True)
        except OSError as error:
            raise ValueError(f"object_spilling_directory: cannot make {path}: {error}") from error
        if not os.access(path, os.W_OK | os.X_OK):
            raise ValueError(f"object_spilling_directory: {path} cannot be written to")
    return paths


def temp_dir(hidden: dict[str, Any]) -> str | None:
    """Return the folder that is to hold the user's sessions, if one is given."""
    folder = hidden.get("_temp_dir")
    if folder is None:
        return None
    if not isinstance(folder, (str, os.PathLike)):
        raise TypeError(f"_temp_dir must be a path, not {folder!r}")
    path = os.fspath(folder)
    if not os.path.isabs(path):
        raise ValueError(f"_temp_dir must be an absolute path, and is {path!r}")
    return path


def log_to_driver(wanted: bool | None) -> bool:
    """Return whether to print what workers print."""
    return flag("LOG_TO_DRIVER", True) if wanted is None else bool(wanted)


def refuse_when_joining(**arguments: Any) -> None:
    """Raise for arguments that say what a new cluster is like."""
    given = sorted(name for name, value in arguments.items() if value is not None)
    if given:
        raise ValueError(
            f"init(): {', '.join(given)} can be given for a new cluster only, and this is to join "
            "one that runs; init(address='local') starts a new one"
        )


def refuse_variables_read_at_start(job: JobSettings, *, joining: bool) -> None:
    """Raise for variables that the workers of a running cluster have read already."""
    early = sorted(environments.read_at_start(job["runtime_env"].get("env_vars", {})))
    if joining and early:
        raise NotImplementedError(
            f"runtime_env: {', '.join(early)} is read when a Python process starts, and the "
            "cluster that is joined has started already"
        )


def job_package(runtime_env: dict[str, Any]) -> Package | None:
    """Pack the job's working_dir, if it is a local one, and name the package instead of it."""
    path = runtime_env.get("working_dir")
    if path is None:
        return None
    if environments.is_uri(path):
        environments.check_uri(path, "runtime_env")
        return None
    from rayc._private.packaging import pack

    package = pack(path, runtime_env.get("excludes", ()))
    runtime_env["working_dir"] = package.uri
    return package


def job_settings(
    config: JobConfig | None, namespace: str | None, runtime_env: dict[str, Any] | None
) -> JobSettings:
    """Return what the workers of the job are told."""
    if config is None:
        config = JobConfig()
    elif not isinstance(config, JobConfig):
        raise TypeError(f"job_config must be a JobConfig, not {config!r}")
    if namespace is None:
        namespace = config.ray_namespace
    if namespace is None:
        namespace = random_name()
    check_namespace(namespace)
    env = environments.checked(config.runtime_env if runtime_env is None else runtime_env)
    settings: JobSettings = {
        "namespace": namespace,
        "sys_path": search_path_for_workers(with_own_folders="working_dir" not in env),
        "runtime_env": env,
        "code_search_path": config.code_search_path,
        "default_actor_lifetime": config.default_actor_lifetime,
        "metadata": config.metadata,
    }
    settings["sys_path"] = list(dict.fromkeys([*config.code_search_path, *settings["sys_path"]]))
    gpus = found.visible_gpus()
    if gpus is not None:
        settings["visible_gpus"] = gpus
    return settings
