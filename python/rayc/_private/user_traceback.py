"""Tracebacks as users want to see them: without the frames of this library."""

from __future__ import annotations

import os
from typing import Any

_PACKAGE_FOLDER = os.path.dirname(os.path.dirname(os.path.abspath(__file__))) + os.sep


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
