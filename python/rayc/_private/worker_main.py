"""The life of a worker process, from the fork to its end."""

from __future__ import annotations

import atexit
import faulthandler
import os
import signal
import sys
from typing import Any

from rayc._private import blas_threads, worker_output
from rayc._private.worker import global_worker
from rayc._raylet import CANCEL_SIGNAL, WORKER_MODE, CoreWorker, interrupt_current_task


def output_is_dirty() -> bool:
    """Return whether user code has written to stdout or stderr since the last time.

    What Python held back is flushed. For the extension, after each task.
    """
    return worker_output.take_dirty()


def run(session_dir: str, fork_token: int, worker_id: bytes) -> None:
    """Be a worker; does not return."""
    code = 1
    try:
        faulthandler.enable(file=2)
        blas_threads.follow_environment()
        code = _serve(session_dir, fork_token, worker_id)
    except SystemExit as error:
        code = exit_code_of(error)
    except BaseException:
        sys.excepthook(*sys.exc_info())
    finally:
        # The interpreter's own end would wait for threads, and destroy objects under the
        # feet of the core worker's threads.
        os._exit(code)


def _serve(session_dir: str, fork_token: int, worker_id: bytes) -> int:
    core = CoreWorker(
        mode=WORKER_MODE, session_dir=session_dir, fork_token=fork_token, worker_id=worker_id
    )
    global_worker.connect(WORKER_MODE, core, session_dir)
    signal.signal(CANCEL_SIGNAL, interrupt_current_task)
    signal.signal(signal.SIGTERM, _leave_at_sigterm)  # until now it has ended this process at once
    code = 0
    try:
        core.run_task_loop()
    except SystemExit as error:
        code = exit_code_of(error)
    except KeyboardInterrupt:
        code = 128 + signal.SIGINT
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)  # it is leaving already
        for clean_up in (_let_actors_clean_up, atexit._run_exitfuncs):
            try:
                clean_up()
            except BaseException:
                sys.excepthook(*sys.exc_info())
        worker_output.flush()
        core.shutdown()
    return code


def _let_actors_clean_up() -> None:
    for actor in list(global_worker.actors.values()):
        hook = getattr(actor, "__ray_shutdown__", None)
        if hook is not None:
            hook()


def exit_code_of(error: SystemExit) -> int:
    """Return what the process's exit code is, as Python itself would have it."""
    if error.code is None:
        return 0
    if isinstance(error.code, int):
        return error.code & 0xFF
    print(error.code, file=sys.stderr)
    return 1


def _leave_at_sigterm(signum: int, frame: Any) -> None:
    signal.signal(signum, signal.SIG_IGN)  # once is enough
    core = global_worker.core_worker
    if core is not None:
        core.announce_exit(128 + signum, "it was told to end by SIGTERM")
    raise SystemExit(128 + signum)
