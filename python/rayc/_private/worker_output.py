"""A worker's sys.stdout and sys.stderr.

They write to the pipes whose other ends the raylet reads, and remember that something was
written: the extension asks before it answers a call, so that what a task prints reaches the
driver before the task's result does.
"""

from __future__ import annotations

import io
import sys

_dirty = False


def take_dirty() -> bool:
    """Return whether anything was written since the last time, and flush it."""
    global _dirty
    if not _dirty:
        return False
    _dirty = False
    flush()
    return True


def flush() -> None:
    """Write out what is buffered."""
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except (AttributeError, OSError, ValueError):
            pass  # replaced or closed by the user's code, or nobody reads it any more


class _Buffer(io.BufferedWriter):
    """What `sys.stdout.buffer` is."""

    def write(self, data: object, /) -> int:
        global _dirty
        _dirty = True
        return super().write(data)  # type: ignore[arg-type]


class _Text(io.TextIOWrapper):
    """What `sys.stdout` is."""

    def write(self, text: str, /) -> int:
        global _dirty
        _dirty = True
        return super().write(text)


def install() -> None:
    """Make new sys.stdout and sys.stderr over the descriptors 1 and 2."""
    sys.stdout = sys.__stdout__ = _open(1, "strict")  # type: ignore[misc]
    sys.stderr = sys.__stderr__ = _open(2, "backslashreplace")  # type: ignore[misc]


def _open(descriptor: int, errors: str) -> io.TextIOWrapper:
    raw = io.FileIO(descriptor, "w", closefd=False)
    return _Text(_Buffer(raw), encoding="utf-8", errors=errors, line_buffering=True)
