"""Runtime environments: what they may contain, how they inherit, and how they travel.

An environment is a plain dict of the fields that are set. A process has the one that it
was started for (a driver: its job's); what it submits is laid over that, and travels as
canonical JSON with the task. A worker serves one environment all its life.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from typing import Any

from rayc._private import driver_log

# Known from Ray, and not there.
_NOT_YET = frozenset(
    "conda container image_uri pip py_executable py_modules uv worker_process_setup_hook".split()
)
_KNOWN = frozenset("config env_vars excludes working_dir".split())
_CONFIG_FIELDS = frozenset("setup_timeout_seconds eager_install log_files".split())
_URI = re.compile(r"[a-z][a-z0-9+.-]*://")

PACKAGE_PROTOCOL = "gcs://"

# Read by the interpreter or the loader when a program starts: it is of no use to set them later.
_READ_AT_START = re.compile(r"PYTHON[A-Z0-9]+|LD_[A-Z0-9_]+|MALLOC_[A-Z0-9_]+|GLIBC_TUNABLES")


def checked(env: Any, *, what: str = "runtime_env") -> dict[str, Any]:
    """Return the fields that an environment sets.

    Raises
    ------
    TypeError, ValueError
        If a field is not what it must be.
    NotImplementedError
        For a field of Ray's that rayc does not have.
    """
    if not isinstance(env, Mapping):
        raise TypeError(f"{what} must be a dict, not {env!r}")
    fields = {}
    for name, value in env.items():
        if not isinstance(name, str):
            raise TypeError(f"the fields of {what} are named by strings, and one is {name!r}")
        if value is not None:
            fields[name] = value
    installers = sorted({"conda", "pip", "uv"} & set(fields))
    if len(installers) > 1:
        raise ValueError(f"{what}: {', '.join(map(repr, installers))} exclude each other")
    missing = sorted(name for name in fields if name in _NOT_YET)
    if missing:
        raise NotImplementedError(
            f"{what}: {', '.join(map(repr, missing))} is not there yet, only 'env_vars', "
            "'working_dir' and 'excludes' are"
        )
    unknown = sorted(name for name in fields if name not in _KNOWN)
    if unknown:
        driver_log.warn(
            f"{what} has the fields {', '.join(map(repr, unknown))}, which rayc does not know; "
            "they have no effect"
        )
    if "env_vars" in fields:
        fields["env_vars"] = _checked_variables(fields["env_vars"], what)
    if "working_dir" in fields:
        fields["working_dir"] = _checked_path(fields["working_dir"], what)
    if "excludes" in fields:
        _check_strings(fields["excludes"], f"{what}['excludes']")
    if "config" in fields:
        _check_config(fields["config"], what)
    return fields


def _checked_variables(variables: Any, what: str) -> dict[str, str]:
    if not isinstance(variables, Mapping):
        raise TypeError(f"{what}['env_vars'] must be a dict, not {variables!r}")
    for name, value in variables.items():
        if not isinstance(name, str) or not isinstance(value, str):
            raise TypeError(
                f"{what}['env_vars'] must map strings to strings, and has {name!r}: {value!r}"
            )
        if not name or "=" in name or "\0" in name or "\0" in value:
            raise ValueError(f"{what}['env_vars']: {name!r}: {value!r} cannot be a variable")
    return dict(variables)


def _checked_path(path: Any, what: str) -> str:
    if not isinstance(path, (str, os.PathLike)):
        raise TypeError(f"{what}['working_dir'] must be a path or a URI, not {path!r}")
    text = os.fspath(path)
    if not isinstance(text, str) or not text:
        raise ValueError(f"{what}['working_dir'] must be a path or a URI, and is {path!r}")
    return text


def _check_strings(value: Any, what: str) -> None:
    if not isinstance(value, (list, tuple)) or not all(isinstance(one, str) for one in value):
        raise TypeError(f"{what} must be a list of strings, not {value!r}")


def _check_config(config: Any, what: str) -> None:
    if not isinstance(config, Mapping):
        raise TypeError(f"{what}['config'] must be a dict, not {config!r}")
    unknown = sorted(set(config) - _CONFIG_FIELDS)
    if unknown:
        raise ValueError(f"{what}['config'] has no field {', '.join(map(repr, unknown))}")
    timeout = config.get("setup_timeout_seconds", 600)
    if isinstance(timeout, bool) or not isinstance(timeout, int):
        raise TypeError(f"setup_timeout_seconds must be an integer, not {timeout!r}")
    if timeout == 0 or timeout < -1:
        raise ValueError(f"setup_timeout_seconds must be -1 (none) or positive, and is {timeout}")


def is_uri(path: str) -> bool:
    """Return whether a working_dir says where a package is, rather than a local path."""
    return _URI.match(path) is not None


def read_at_start(variables: Mapping[str, str]) -> dict[str, str]:
    """Return those variables that a program reads when it starts."""
    return {k: v for k, v in variables.items() if _READ_AT_START.fullmatch(k)}


def check_of_call(what: str, env: Any) -> None:
    """Check the option ``runtime_env`` of a task or actor."""
    fields = checked(env, what=what)
    path = fields.get("working_dir")
    if path is not None and not is_uri(path):
        raise ValueError(
            f"{what}: the working_dir of a task or actor must be a URI, and {path!r} is a local "
            "path: give that to init(), and refer to it by "
            "rayc.get_runtime_context().runtime_env['working_dir']"
        )
    if path is not None:
        check_uri(path, what)
    early = sorted(read_at_start(fields.get("env_vars", {})))
    if early:
        raise NotImplementedError(
            f"{what}: {', '.join(early)} is read when a Python process starts, so a task or actor "
            "cannot have its own; give it to init(runtime_env=...)"
        )


def check_uri(uri: str, what: str) -> None:
    """Raise unless workers can fetch such a package."""
    if not uri.startswith(PACKAGE_PROTOCOL):
        raise NotImplementedError(
            f"{what}['working_dir']={uri!r}: only packages that init() has uploaded "
            f"({PACKAGE_PROTOCOL}...) can be fetched"
        )


def merged(parent: Mapping[str, Any], child: Mapping[str, Any]) -> dict[str, Any]:
    """Return a child's environment laid over its parent's."""
    result = {**parent, **child}
    variables = {**parent.get("env_vars", {}), **child.get("env_vars", {})}
    if variables:
        result["env_vars"] = variables
    return result


def canonical(env: Mapping[str, Any]) -> str:
    """Return the text that equal environments share; "" for an empty one."""
    # What does not change the processes themselves is no reason for other ones.
    kept = {name: env[name] for name in ("env_vars", "working_dir") if env.get(name)}
    if not kept:
        return ""
    import json

    return json.dumps(kept, sort_keys=True)


def of_call(
    option: Mapping[str, Any] | None, own: Mapping[str, Any], job: Mapping[str, Any]
) -> str:
    """Return the environment of a task or actor as it travels; "" means the job's.

    Parameters
    ----------
    option : mapping or None
        Its option ``runtime_env``.
    own, job : mapping
        The environments of this process, and of the job.
    """
    env = merged(own, checked(option)) if option else own
    if env is job:
        return ""
    text = canonical(env)
    return "" if text == canonical(job) else text
