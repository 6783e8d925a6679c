"""Makes the error that is stored for a task whose code raised."""

from __future__ import annotations

import os
from typing import Any

from rayc.exceptions import RayTaskError

_PACKAGE_FOLDER = os.path.dirname(os.path.dirname(os.path.abspath(__file__))) + os.sep


def make_task_error(
    exception: BaseException,
    function_name: str,
    *,
    ip: str | None = None,
    actor_repr: str | None = None,
    actor_id: str | None = None,
) -> RayTaskError:
    """Return the error to store for a task whose code raised `exception`.

    An error that came out of another task is not wrapped once more: its innermost cause
    stays the cause, and its traceback is continued.
    """
    pid = os.getpid()
    title = f"rayc::{function_name}"
    where = f"pid={pid}"
    if ip:
        where += f", ip={ip}"
    if actor_id:
        where += f", actor_id={actor_id}"
    if actor_repr:
        where += f", repr={actor_repr}"
    lines = format_traceback(exception)
    text = f"{title}() ({where})\n{lines}".rstrip("\n")
    cause = exception.cause if isinstance(exception, RayTaskError) else exception
    return RayTaskError(
        function_name=function_name,
        traceback_str=text,
        cause=cause,
        proctitle=title,
        pid=pid,
        ip=ip,
        actor_repr=actor_repr,
        actor_id=actor_id,
    )


def format_traceback(exception: BaseException) -> str:
    """Format a traceback with its causes, without the frames of this library."""
    import traceback

    report = traceback.TracebackException.from_exception(exception)
    seen: set[int] = set()
    pending: list[Any] = [report]
    while pending:
        part = pending.pop()
        if part is None or id(part) in seen:
            continue
        seen.add(id(part))
        part.stack[:] = [frame for frame in part.stack if not _is_of_library(frame.filename)]
        pending += [part.__cause__, part.__context__]
        pending += getattr(part, "exceptions", None) or []
    text = "".join(report.format())
    start = "Traceback (most recent call last):\n"
    # The caller's first line, which names the task, takes the place of the usual one.
    return text[len(start) :] if text.startswith(start) else text


def _is_of_library(filename: str) -> bool:
    return filename.startswith(_PACKAGE_FOLDER) or filename.endswith((".pyx", ".pxi"))
