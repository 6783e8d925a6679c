"""The environment that a job's, task's or actor's processes have."""

from __future__ import annotations

from typing import Any

from rayc._private.runtime_env import checked

__all__ = ["RuntimeEnv"]


class RuntimeEnv(dict[str, Any]):
    """A runtime environment; a plain dict of the same fields does as well.

    Parameters
    ----------
    env_vars : dict of str to str, optional
        Variables of the processes. ``${NAME}`` in a value stands for what the variable was
        before. Those that Python or the loader read at their start (``PYTHONPATH``,
        ``LD_LIBRARY_PATH`` ...) can be given to `init` only.
    working_dir : str, optional
        For `init`: a folder or zip file that is sent to the workers; it is their current
        folder, and the first on their search path. For tasks and actors: a URI.
    excludes : list of str, optional
        Patterns of what in that folder not to send, as in ``.gitignore``, which counts too.
    config : dict, optional
        ``setup_timeout_seconds`` and ``eager_install``; accepted.
    **fields
        Further ones.
    """

    def __init__(self, **fields: Any) -> None:
        super().__init__(checked(fields))
