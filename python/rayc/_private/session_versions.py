"""The versions of a session: they who join must have the same, as code is sent in pickles."""

from __future__ import annotations

import os
import sys

from rayc._private.environment import setting
from rayc._raylet import build_version

_FILE = "versions"  # a line for each: its name and number


def _own() -> dict[str, str]:
    return {"rayc": build_version, "Python": ".".join(map(str, sys.version_info[:3]))}


def write(session_dir: str) -> None:
    """Note the versions of the driver that starts a session."""
    with open(os.path.join(session_dir, _FILE), "w") as file:
        file.writelines(f"{name} {number}\n" for name, number in _own().items())


def check(session_dir: str) -> None:
    """Raise unless this process may join the session.

    Raises
    ------
    RuntimeError
        If it has another version of rayc or Python; of Python the patch level counts too,
        unless RAYC_DEFAULT_PYTHON_VERSION_MATCH_LEVEL is "minor".
    ConnectionError
        If the session does not say what its versions are.
    """
    try:
        with open(os.path.join(session_dir, _FILE)) as file:
            theirs = dict(line.split(maxsplit=1) for line in file.read().splitlines())
        pairs = [(name, own, theirs[name]) for name, own in _own().items()]
    except (OSError, ValueError, KeyError) as error:
        raise ConnectionError(f"{session_dir} is not the folder of a session: {error!r}") from error
    level = setting("DEFAULT_PYTHON_VERSION_MATCH_LEVEL", "patch")
    for name, own, other in pairs:
        if name == "Python" and level == "minor":
            same = own.split(".")[:2] == other.split(".")[:2]
        else:
            same = own == other
        if not same:
            raise RuntimeError(
                f"This process has {name} {own}, and the session {session_dir} was started with "
                f"{name} {other}: drivers and workers of a cluster must have the same version"
            )
