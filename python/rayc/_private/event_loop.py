"""The event loop of an asyncio actor, in a thread of its own."""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextvars
import os
import threading
from collections.abc import Callable, Coroutine
from typing import Any


class EventLoopThread:
    """Runs an event loop for as long as the process lives.

    Parameters
    ----------
    take_calls : callable
        Called in the loop when the doorbell was rung; returns whether there may be more to
        take, after others had their turn.

    Attributes
    ----------
    doorbell : int
        An eventfd; writing to it makes the loop take calls.
    """

    def __init__(self, take_calls: Callable[[], bool]) -> None:
        self.doorbell = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        self._take_calls = take_calls
        self._loop = asyncio.new_event_loop()
        self._loop.add_reader(self.doorbell, self._on_doorbell)
        self._thread = threading.Thread(target=self._run, name="rayc-asyncio", daemon=True)
        self._thread.start()

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        self._base = contextvars.copy_context()
        while True:
            try:
                self._loop.run_forever()
            except (SystemExit, KeyboardInterrupt):
                continue  # asyncio lets these through; the call that raised it reports it

    def _on_doorbell(self) -> None:
        # Read first: what arrives from now on rings again.
        try:
            os.eventfd_read(self.doorbell)
        except BlockingIOError:
            pass  # a turn that was left over has come first
        self._take()

    def _take(self) -> None:
        if self._take_calls():
            self._loop.call_soon(self._take)

    def new_context(self) -> contextvars.Context:
        """Return a context for a call, in which nothing of other calls is set."""
        return self._base.copy()

    def create_task(self, coroutine: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
        """Start a coroutine in the current context; in the loop's thread."""
        return self._loop.create_task(coroutine)

    def is_running_here(self) -> bool:
        """Return whether this is the loop's thread."""
        return threading.current_thread() is self._thread

    def run(self, context: contextvars.Context, function: Callable[..., Any], *args: Any) -> Any:
        """Run a function in the loop, and the coroutine it may return; waits for its value."""
        done: concurrent.futures.Future[Any] = concurrent.futures.Future()

        def start() -> None:
            try:
                value = function(*args)
                if not asyncio.iscoroutine(value):
                    done.set_result(value)
                    return
                self._loop.create_task(value).add_done_callback(finish)
            except BaseException as error:
                done.set_exception(error)

        def finish(task: asyncio.Task[Any]) -> None:
            if task.cancelled():
                done.set_exception(asyncio.CancelledError("the constructor was cancelled"))
            elif (error := task.exception()) is not None:
                done.set_exception(error)
            else:
                done.set_result(task.result())

        self._loop.call_soon_threadsafe(start, context=context)
        return done.result()
