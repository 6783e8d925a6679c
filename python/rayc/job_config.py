"""What a driver says about its whole job."""

from __future__ import annotations

from typing import Any

from rayc._private.options import check_namespace

__all__ = ["JobConfig"]

_LIFETIMES = ("detached", "non_detached")


class JobConfig:
    """The settings of a job, for ``init(job_config=...)``.

    Parameters
    ----------
    jvm_options : list of str, optional
        Accepted for the sake of old programs; there are no Java workers.
    code_search_path : list of str, optional
        Folders in which workers find the code of tasks and actors; code that they can
        import from there is not sent.
    runtime_env : dict, optional
        As for `init`.
    metadata : dict, optional
        Free-form texts about the job.
    ray_namespace : str, optional
        As `namespace` for `init`.
    default_actor_lifetime : str
        "detached" or "non_detached", for actors without the option ``lifetime``.
    """

    def __init__(
        self,
        jvm_options: list[str] | None = None,
        code_search_path: list[str] | None = None,
        runtime_env: dict[str, Any] | None = None,
        metadata: dict[str, str] | None = None,
        ray_namespace: str | None = None,
        default_actor_lifetime: str = "non_detached",
    ) -> None:
        if code_search_path is not None and not isinstance(code_search_path, (list, tuple)):
            raise TypeError(f"code_search_path must be a list of folders, not {code_search_path!r}")
        for folder in code_search_path or ():
            if not isinstance(folder, str):
                raise TypeError(f"code_search_path must contain strings, and has {folder!r}")
        self.jvm_options = list(jvm_options or ())
        self.code_search_path = list(code_search_path or ())
        self.runtime_env = dict(runtime_env or {})
        self.metadata = dict(metadata or {})
        self.ray_namespace = ray_namespace
        self.set_default_actor_lifetime(default_actor_lifetime)
        if ray_namespace is not None:
            check_namespace(ray_namespace)

    def set_metadata(self, key: str, value: str) -> None:
        """Add a text about the job."""
        self.metadata[key] = value

    def set_ray_namespace(self, ray_namespace: str) -> None:
        """Set the namespace of the job's actors."""
        check_namespace(ray_namespace)
        self.ray_namespace = ray_namespace

    def set_runtime_env(self, runtime_env: dict[str, Any] | None) -> None:
        """Set the runtime environment of the job's workers."""
        self.runtime_env = dict(runtime_env or {})

    def set_default_actor_lifetime(self, default_actor_lifetime: str) -> None:
        """Set the lifetime of actors without the option ``lifetime``."""
        if default_actor_lifetime not in _LIFETIMES:
            raise ValueError(
                f"default_actor_lifetime must be one of {_LIFETIMES}, "
                f"and is {default_actor_lifetime!r}"
            )
        self.default_actor_lifetime = default_actor_lifetime
