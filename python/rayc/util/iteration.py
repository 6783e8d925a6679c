"""Iterating over results in the order in which they come."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

from rayc import api
from rayc._raylet import ObjectRef


def as_completed(
    refs: Sequence[ObjectRef[Any]],
    *,
    chunk_size: int = 10,
    yield_obj_refs: bool = False,
    **wait_kw: Any,
) -> Iterator[Any]:
    """Yield values as they become available.

    Parameters
    ----------
    refs : sequence of ObjectRef
        What to wait for.
    chunk_size : int
        How many to take at a time.
    yield_obj_refs : bool
        Yield the references instead.
    **wait_kw
        For `rayc.wait`, except ``num_returns``.
    """
    if chunk_size < 1:
        raise ValueError(f"chunk_size must be at least 1, and is {chunk_size}")
    if "num_returns" in wait_kw:
        raise ValueError("use chunk_size instead of num_returns")
    rest = list(refs)
    while rest:
        ready, rest = api.wait(rest, num_returns=min(chunk_size, len(rest)), **wait_kw)
        yield from ready if yield_obj_refs else api.get(ready)


def map_unordered(
    fn: Any,
    items: Iterable[Any],
    *,
    backpressure_size: int | None = 100,
    chunk_size: int = 10,
    yield_obj_refs: bool = False,
) -> Iterator[Any]:
    """Run a remote function on each item; yield results as they become available.

    Parameters
    ----------
    fn : RemoteFunction or ActorMethod
        Called with one item at a time.
    items : iterable
        Read as far as needed.
    backpressure_size : int or None
        How many calls may be under way.
    chunk_size : int
        How many results to take at a time.
    yield_obj_refs : bool
        Yield the references instead.
    """
    submit: Callable[[Any], ObjectRef[Any]] = fn.remote
    if backpressure_size is not None and backpressure_size < chunk_size:
        raise ValueError(
            f"backpressure_size ({backpressure_size}) must not be less than chunk_size "
            f"({chunk_size})"
        )
    pending: list[ObjectRef[Any]] = []
    for item in items:
        pending.append(submit(item))
        if backpressure_size is not None and len(pending) >= backpressure_size:
            ready, pending = api.wait(pending, num_returns=min(chunk_size, len(pending)))
            yield from ready if yield_obj_refs else api.get(ready)
    yield from as_completed(pending, chunk_size=chunk_size, yield_obj_refs=yield_obj_refs)
