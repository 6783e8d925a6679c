"""The zygote: a process that has imported what workers need, and forks them.

It has one thread, and no connection but the one to its raylet. Whoever it forks is
ready at once, and shares its memory. It reaps workers, and also adopts what they leave
behind, so that it can end everything when the raylet is gone.
"""

from __future__ import annotations

import gc
import os
import select
import signal
import sys
import time
from typing import Any

from rayc import _raylet

_KILL_FOR_S = 2.0  # how long it takes the kernel to end a process, at the very most


def main() -> None:
    """Run the zygote; for the command that the raylet starts."""
    session_dir = os.environ["RAYC_SESSION_DIR"]
    raylet_fd = int(os.environ.pop("RAYC_ZYGOTE_FD"))
    os.set_inheritable(raylet_fd, False)
    _raylet.become_subreaper()
    _raylet.set_process_title("rayc::zygote")
    _import_for_workers()
    zygote = Zygote(session_dir, raylet_fd)
    zygote.run()


def _import_for_workers() -> None:
    """Import what workers need, without starting a thread."""
    from rayc._private.blas_threads import VARIABLES

    # OpenBLAS starts its threads when it is loaded, unless it may have only one.
    before = {name: os.environ.get(name) for name in VARIABLES}
    os.environ.update(dict.fromkeys(VARIABLES, "1"))
    try:
        import numpy.random  # noqa: F401
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value
    # The standard library's modules are what tasks and errors use in the first moment.
    import ctypes  # noqa: F401
    import inspect  # noqa: F401
    import logging  # noqa: F401
    import traceback  # noqa: F401

    import rayc.api
    import rayc.runtime_context
    import rayc.util  # noqa: F401
    from rayc._private import code_pickling, task_errors, worker_main  # noqa: F401


class Zygote:
    """Forks, reaps, and ends the workers of one node."""

    def __init__(self, session_dir: str, raylet_fd: int) -> None:
        self._session_dir = session_dir
        self._raylet_fd = raylet_fd
        self._raylet = _raylet.Zygote(raylet_fd)
        self._workers: set[int] = set()
        # Signals end the wait for the raylet: SIGCHLD is of interest.
        self._signal_read, self._signal_write = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        signal.signal(signal.SIGCHLD, _ignore)
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        signal.set_wakeup_fd(self._signal_write, warn_on_full_buffer=False)

    def run(self) -> None:
        """Serve until the raylet says so or is gone; does not return."""
        gc.collect()
        gc.freeze()  # what is here now is never garbage; so its pages stay shared
        poll = select.poll()
        poll.register(self._raylet_fd, select.POLLIN)
        poll.register(self._signal_read, select.POLLIN)
        code = 1
        try:
            self._raylet.ready()
            self._serve(poll)
            code = 0
        except BaseException:
            # For the raylet's log; also raised when the raylet is gone, and then read by nobody.
            sys.excepthook(*sys.exc_info())
        finally:
            self._end_everything()
            os._exit(code)

    def _serve(self, poll: select.poll) -> None:
        while True:
            ready = {descriptor for descriptor, _ in poll.poll()}
            if self._signal_read in ready:
                self._drain_signals()
                self._reap()
            if self._raylet_fd in ready and not self._serve_one():
                break

    def _serve_one(self) -> bool:
        """Handle one message of the raylet; return whether to go on."""
        request: Any = self._raylet.receive(0)
        if request is None:
            return True
        if request[0] != "fork":
            return False
        _, fork_token, worker_id, stdout_fd, stderr_fd = request
        self._fork(fork_token, worker_id, stdout_fd, stderr_fd)
        return True

    def _fork(self, fork_token: int, worker_id: bytes, stdout_fd: int, stderr_fd: int) -> None:
        zygote_pid = os.getpid()
        try:
            threads = len(os.listdir("/proc/self/task"))
            if threads != 1:
                raise RuntimeError(
                    f"the zygote has {threads} threads, and can fork safely with one only"
                )
            pid = os.fork()
        except (OSError, RuntimeError) as error:
            pid = -1
            self._raylet.forked(fork_token, -1, str(error))
        if pid == 0:
            self._become_worker(zygote_pid, fork_token, worker_id, stdout_fd, stderr_fd)
        os.close(stdout_fd)
        os.close(stderr_fd)
        if pid > 0:
            self._workers.add(pid)
            self._raylet.forked(fork_token, pid)

    def _become_worker(
        self, zygote_pid: int, fork_token: int, worker_id: bytes, stdout_fd: int, stderr_fd: int
    ) -> None:
        """Go on as a worker, in the child; does not return."""
        try:
            if not _raylet.die_with_parent(zygote_pid):
                os._exit(1)
            signal.set_wakeup_fd(-1)
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            signal.signal(signal.SIGINT, signal.default_int_handler)
            self._raylet.close()
            for descriptor in (self._signal_read, self._signal_write):
                os.close(descriptor)
            for source, target in ((stdout_fd, 1), (stderr_fd, 2)):
                os.dup2(source, target)
                os.close(source)
            from rayc._private import worker_main, worker_output

            worker_output.install()
            _reseed()
            worker_main.run(self._session_dir, fork_token, worker_id)
        except BaseException:
            sys.excepthook(*sys.exc_info())
        finally:
            os._exit(1)

    def _drain_signals(self) -> None:
        try:
            while os.read(self._signal_read, 512):
                pass
        except BlockingIOError:
            pass

    def _reap(self) -> None:
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            if pid in self._workers:  # the others are what workers left behind
                self._workers.discard(pid)
                self._raylet.reaped(pid, status)

    def _end_everything(self) -> None:
        """Kill all descendants."""
        deadline = time.monotonic() + _KILL_FOR_S
        while time.monotonic() < deadline:
            victims = descendants(os.getpid())
            for pid in victims:
                try:
                    os.kill(pid, signal.SIGKILL)
                except ProcessLookupError:
                    pass
            try:
                while os.waitpid(-1, os.WNOHANG)[0]:
                    pass
            except ChildProcessError:
                if not victims:
                    return
            time.sleep(0.001)


def _ignore(signum: int, frame: Any) -> None:
    pass


def _reseed() -> None:
    """Give this child random numbers of its own."""
    # The module random does so itself after a fork.
    random = sys.modules.get("numpy.random")
    if random is not None:
        random.seed()


def descendants(pid: int) -> list[int]:
    """Return all processes below a process, those farther down first."""
    children: dict[int, list[int]] = {}
    for name in os.listdir("/proc"):
        if name.isdigit():
            try:
                with open(f"/proc/{name}/stat", "rb") as file:
                    fields = file.read().rpartition(b")")[2].split()
            except OSError:
                continue
            if fields[0] != b"Z":
                children.setdefault(int(fields[1]), []).append(int(name))
    found: list[int] = []
    level = [pid]
    while level:
        level = [child for parent in level for child in children.get(parent, ())]
        found += level
    found.reverse()
    return found
