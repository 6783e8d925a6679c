"""What `init`'s address means."""

from __future__ import annotations

import os

from rayc._private.environment import setting

_NOT_YET = (
    "joining a cluster by host and port is not there yet; init(address='local') starts a new "
    "one, and a session's folder on this machine can be joined"
)


def session_of(address: str | None) -> str | None:
    """Return the folder of the session to join; None for a new private cluster.

    Raises
    ------
    ConnectionError
        If there is no such session.
    ValueError
        If it is no address.
    """
    if address is None:
        address = setting("ADDRESS") or "local"
    if not isinstance(address, str):
        raise TypeError(f"address must be a string, not {address!r}")
    if address == "local":
        return None
    if address == "auto":
        raise ConnectionError(f"address='auto': no running cluster was found, and {_NOT_YET}")
    if address.startswith("ray://"):
        raise NotImplementedError(f"address={address!r}: {_NOT_YET}")
    path = address.removeprefix("unix:")
    if os.path.isabs(path):
        return _session_folder(path)
    host, colon, port = address.rpartition(":")
    if not colon or not host or not port.isdigit() or not 0 < int(port) < 65536:
        raise ValueError(
            "address must be 'local', 'auto', 'host:port', 'ray://host:port', or the absolute path "
            f"of a session's folder or socket, and is {address!r}"
        )
    raise NotImplementedError(f"address={address!r}: {_NOT_YET}")


def _session_folder(path: str) -> str:
    folder = os.path.realpath(path)
    if os.path.basename(os.path.dirname(folder)) == "sockets":
        folder = os.path.dirname(os.path.dirname(folder))
    try:
        found = os.stat(folder)
    except OSError as error:
        raise ConnectionError(f"address={path!r}: there is no session ({error.strerror})") from None
    if found.st_uid != os.getuid():
        raise PermissionError(f"address={path!r}: the session belongs to another user")
    if not os.path.isdir(os.path.join(folder, "sockets")):
        raise ConnectionError(f"address={path!r}: {folder} is not the folder of a session")
    return folder
