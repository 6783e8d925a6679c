"""Prints on the driver's terminal what tasks and actors print.

A thread of the driver takes the lines from the core worker. The same line from several
processes is printed once, and then counted for a while, numbers in it not regarded.
"""

from __future__ import annotations

import re
import sys
import threading
import time
from typing import TYPE_CHECKING, NamedTuple, TextIO

from rayc._private.environment import flag, setting

if TYPE_CHECKING:
    from rayc._raylet import CoreWorker

_WINDOW_S = 5.0
_PATTERNS_MAX = 1000  # kept at a time; the oldest are printed and forgotten
_WAIT_MS = 1000
_NUMBER = re.compile(r"\d+")


class Line(NamedTuple):
    """One line that a worker wrote."""

    name: str  # of the task or actor
    pid: int
    is_stderr: bool
    text: str


class _Repeats:
    """A line that was printed, and how often others have written it since."""

    __slots__ = ("count", "last", "pid", "since")

    def __init__(self, pid: int, since: float) -> None:
        self.pid = pid
        self.since = since
        self.count = 0
        self.last: Line | None = None


class Deduplicator:
    """Decides which lines to print. Knows no clock but the one that it is told.

    A process's own lines always pass: only what another process has said within the last
    seconds is held back, and comes out as one line with a count.
    """

    def __init__(self, window_s: float = _WINDOW_S) -> None:
        self._window_s = window_s
        self._recent: dict[str, _Repeats] = {}

    def add(self, line: Line, now: float) -> list[tuple[Line, int]]:
        """Take a line; return what to print, each with how often it was repeated."""
        out = self.expired(now)
        pattern = _NUMBER.sub("0", line.text)
        repeats = self._recent.get(pattern)
        if not pattern.strip() or (repeats is not None and repeats.pid == line.pid):
            out.append((line, 1))
        elif repeats is not None:
            repeats.count += 1
            repeats.last = line
        else:
            if len(self._recent) >= _PATTERNS_MAX:
                out += self._forget(next(iter(self._recent)))
            self._recent[pattern] = _Repeats(line.pid, now)
            out.append((line, 1))
        return out

    def expired(self, now: float) -> list[tuple[Line, int]]:
        """Return what was held back long enough."""
        out = []
        for pattern, repeats in list(self._recent.items()):
            if now - repeats.since < self._window_s:
                break  # the others are younger
            out += self._forget(pattern)
        return out

    def next_expiry(self) -> float | None:
        """Return when `expired` next has something, if it will."""
        for repeats in self._recent.values():
            if repeats.count:
                return repeats.since + self._window_s
        return None

    def all(self) -> list[tuple[Line, int]]:
        """Return all that is held back."""
        out = []
        for pattern in list(self._recent):
            out += self._forget(pattern)
        return out

    def _forget(self, pattern: str) -> list[tuple[Line, int]]:
        repeats = self._recent.pop(pattern)
        return [(repeats.last, repeats.count)] if repeats.last is not None else []


def format_line(line: Line, repeated: int, colour: bool) -> str:
    """Return the line as the driver prints it."""
    label = f"{line.name} pid={line.pid}" if line.name else f"pid={line.pid}"
    prefix = f"({label})"
    suffix = ""
    if line.name == "raylet":
        prefix = "(raylet)"
    if repeated > 1:
        suffix = f" [repeated {repeated}x across cluster]"
    if colour:
        prefix = f"\033[{33 if line.name == 'raylet' else 36}m{prefix}\033[0m"
        suffix = f"\033[32m{suffix}\033[0m" if suffix else ""
    return f"{prefix} {line.text}{suffix}\n"


class LogPrinter:
    """The thread that prints.

    Parameters
    ----------
    core : CoreWorker
        Where the lines come from.
    quiet : bool
        Take the lines, and print none.
    """

    def __init__(self, core: CoreWorker, quiet: bool = False) -> None:
        self._core = core
        self._quiet = quiet
        self._thread = threading.Thread(target=self._run, name="rayc-log-printer", daemon=True)
        # Held from taking lines until they are printed, so that who holds it knows that all
        # that was taken is printed. Guards the deduplicator.
        self._lock = threading.RLock()
        self._deduplicator = Deduplicator() if flag("DEDUP_LOGS", True) else None

    def start(self) -> None:
        """Begin to print."""
        self._thread.start()

    def flush(self) -> None:
        """Print what has arrived."""
        self._print_arrived()

    def finish(self) -> None:
        """Wait until all is printed; the core worker has been shut down."""
        if self._thread.is_alive() and self._thread is not threading.current_thread():
            self._thread.join()

    def _run(self) -> None:
        going_on = True
        while going_on:
            self._core.wait_logs(self._wait_ms())
            going_on = self._print_arrived()
        with self._lock:
            if self._deduplicator is not None:
                self._write(self._deduplicator.all())

    def _wait_ms(self) -> int:
        with self._lock:
            due = self._deduplicator.next_expiry() if self._deduplicator is not None else None
        if due is None:
            return _WAIT_MS
        return min(_WAIT_MS, max(1, int((due - time.monotonic()) * 1000) + 1))

    def _print_arrived(self) -> bool:
        """Take lines and print them; return whether there can be more."""
        with self._lock:
            taken = self._core.take_logs(0)
            lines = [Line(*line) for line in taken or ()]
            if self._deduplicator is None:
                self._write([(line, 1) for line in lines])
            else:
                now = time.monotonic()
                out = self._deduplicator.expired(now)
                for line in lines:
                    out += self._deduplicator.add(line, now)
                self._write(out)
            return taken is not None

    def _write(self, lines: list[tuple[Line, int]]) -> None:
        if self._quiet:
            return
        for is_stderr, stream in ((False, sys.stdout), (True, sys.stderr)):
            chosen = [(line, count) for line, count in lines if line.is_stderr is is_stderr]
            if not chosen or stream is None:
                continue
            colour = _is_coloured(stream)
            try:
                stream.write("".join(format_line(*one, colour) for one in chosen))
                stream.flush()
            except (OSError, ValueError):
                pass  # closed, or nobody reads it: no reason to stop taking lines


def _is_coloured(stream: TextIO) -> bool:
    wanted = setting("COLOR_PREFIX")
    if wanted:
        return wanted == "1"
    try:
        return stream.isatty()
    except ValueError:
        return False
