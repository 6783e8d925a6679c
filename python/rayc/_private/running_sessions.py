"""The sessions of this user that run on this machine, for tools that look at one."""

from __future__ import annotations

import os
import socket
import tempfile

from rayc._private.environment import setting


def running_sessions() -> list[str]:
    """Return the folders of the sessions whose raylets answer, the newest first."""
    found = []
    for root in session_roots():
        try:
            names = os.listdir(root)
        except OSError:
            continue
        for name in names:
            folder = os.path.join(root, name)
            if name.startswith("session_") and not os.path.islink(folder) and is_running(folder):
                found.append(folder)
    return sorted(found, key=os.path.basename, reverse=True)  # the names begin with the time


def session_roots() -> list[str]:
    """Return the folders in which `init` makes those of sessions, unless it is told others."""
    explicit = setting("TMPDIR")
    folders = [explicit] if explicit else [tempfile.gettempdir(), "/tmp"]
    roots = [os.path.join(os.path.abspath(folder), f"rayc-{os.getuid()}") for folder in folders]
    return list(dict.fromkeys(roots))


def is_running(folder: str) -> bool:
    """Return whether a raylet serves a session."""
    # By the folder's descriptor: the path may be too long for a socket's address.
    try:
        descriptor = os.open(os.path.join(folder, "sockets"), os.O_PATH | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as raylet:
            raylet.settimeout(1.0)
            raylet.connect(f"/proc/self/fd/{descriptor}/raylet")
    except OSError:
        return False
    finally:
        os.close(descriptor)
    return True
