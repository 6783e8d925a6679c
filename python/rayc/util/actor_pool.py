"""A pool of actors that share the work."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from typing import Any, TypeVar

from rayc import api
from rayc._raylet import ObjectRef
from rayc.actor import ActorHandle
from rayc.exceptions import RayActorError

V = TypeVar("V")
Submit = Callable[[ActorHandle, V], ObjectRef[Any]]


class ActorPool:
    """Gives each piece of work to an actor that is free.

    Parameters
    ----------
    actors : list of ActorHandle
        Which the pool may use.

    Examples
    --------
    >>> pool = ActorPool([Worker.remote(), Worker.remote()])
    >>> list(pool.map(lambda actor, value: actor.double.remote(value), [1, 2, 3]))
    [2, 4, 6]
    """

    def __init__(self, actors: Iterable[ActorHandle]) -> None:
        self._idle = list(actors)
        self._running: dict[ObjectRef[Any], tuple[int, ActorHandle]] = {}
        # Results by the number of their submission: taken from the pool's view of actors,
        # whether or not the value has been fetched.
        self._refs: dict[int, ObjectRef[Any]] = {}
        self._next_submitted = 0
        self._next_ordered = 0
        self._waiting: deque[tuple[Submit[Any], Any]] = deque()
        self._unordered_was_used = False

    def map(self, fn: Submit[V], values: Iterable[V]) -> Iterator[Any]:
        """Yield the results of the values, in their order, as the iterator is read.

        Parameters
        ----------
        fn : callable
            Called with an actor and a value; returns a reference.
        values : iterable
            All are submitted at once.
        """
        self._discard_results()
        for value in values:
            self.submit(fn, value)

        def results() -> Iterator[Any]:
            while self.has_next():
                yield self.get_next()

        return results()

    def map_unordered(self, fn: Submit[V], values: Iterable[V]) -> Iterator[Any]:
        """Yield the results of the values as they become available: see `map`."""
        self._discard_results()
        for value in values:
            self.submit(fn, value)

        def results() -> Iterator[Any]:
            while self.has_next():
                yield self.get_next_unordered()

        return results()

    def _discard_results(self) -> None:
        """Wait for what was submitted earlier and never fetched."""
        while self.has_next():
            try:
                self.get_next_unordered(timeout=0, ignore_if_timedout=True)
            except TimeoutError:
                pass
        self._unordered_was_used = False
        self._next_ordered = self._next_submitted

    def submit(self, fn: Submit[V], value: V) -> None:
        """Give a value to a free actor, or to the next one that becomes free."""
        if not self._idle:
            self._waiting.append((fn, value))
            return
        actor = self._idle.pop()
        ref = fn(actor, value)
        self._running[ref] = (self._next_submitted, actor)
        self._refs[self._next_submitted] = ref
        self._next_submitted += 1

    def has_next(self) -> bool:
        """Return whether there are results to be fetched."""
        return bool(self._running or self._refs or self._waiting)

    def get_next(self, timeout: float | None = None, ignore_if_timedout: bool = False) -> Any:
        """Return the next result in the order of submission.

        Parameters
        ----------
        timeout : float, optional
            Seconds to wait at most.
        ignore_if_timedout : bool
            If it is not there in time, give the result up, so that the next call returns
            the one after it.

        Raises
        ------
        StopIteration
            If there is none.
        ValueError
            After `get_next_unordered`, until all results are fetched.
        TimeoutError
            If it is not there in time.
        """
        if not self.has_next():
            raise StopIteration("There are no more results to get")
        if self._unordered_was_used:
            raise ValueError("get_next() cannot follow get_next_unordered()")
        ref = self._refs[self._next_ordered]
        timed_out = False
        if timeout is not None:
            ready, _ = api.wait([ref], timeout=timeout)
            timed_out = not ready
        if timed_out and not ignore_if_timedout:
            raise TimeoutError("The next result was not there in time")
        del self._refs[self._next_ordered]
        self._next_ordered += 1
        return self._finish(ref, timed_out)

    def get_next_unordered(
        self, timeout: float | None = None, ignore_if_timedout: bool = False
    ) -> Any:
        """Return any result that is there: see `get_next`."""
        if not self.has_next():
            raise StopIteration("There are no more results to get")
        self._unordered_was_used = True
        ready, _ = api.wait(list(self._running), num_returns=1, timeout=timeout)
        timed_out = not ready
        if timed_out and not ignore_if_timedout:
            raise TimeoutError("No result was there in time")
        ref = ready[0] if ready else next(iter(self._running))
        number, _ = self._running[ref]
        del self._refs[number]
        self._next_ordered = max(self._next_ordered, number + 1)
        if not self._refs and not self._waiting:
            self._unordered_was_used = False
        return self._finish(ref, timed_out)

    def _finish(self, ref: ObjectRef[Any], timed_out: bool) -> Any:
        """Fetch a result, and free its actor, unless that is dead."""
        _, actor = self._running.pop(ref)
        if timed_out:
            self._make_idle(actor)
            raise TimeoutError("The result was not there in time; it is ignored from now on")
        try:
            value = api.get(ref)
        except RayActorError:
            self._drop(actor)
            raise
        except BaseException:
            self._make_idle(actor)
            raise
        self._make_idle(actor)
        return value

    def _drop(self, actor: ActorHandle) -> None:
        """Go on without a dead actor."""
        if not self._idle and not self._running:
            self._waiting.clear()  # nobody is left to do it

    def _make_idle(self, actor: ActorHandle) -> None:
        self._idle.append(actor)
        if self._waiting:
            self.submit(*self._waiting.popleft())

    def has_free(self) -> bool:
        """Return whether an actor is free and no work waits."""
        return bool(self._idle) and not self._waiting

    def pop_idle(self) -> ActorHandle | None:
        """Take a free actor out of the pool; None if none is free."""
        return self._idle.pop() if self.has_free() else None

    def push(self, actor: ActorHandle) -> None:
        """Add an actor to the pool.

        Raises
        ------
        ValueError
            If it is in the pool already.
        """
        busy = [one for _, one in self._running.values()]
        if actor in self._idle or actor in busy:
            raise ValueError("The actor is in the pool already")
        self._make_idle(actor)
