"""The object store: large and small objects, put and got, against a memcpy of the same size.

    python benchmarks/plasma.py --quick
    python benchmarks/plasma.py --engine both --ray-python build/ray-venv/bin/python

A reading "of memcpy" is a ratio: each run of it is followed by copies of as many bytes between two
arrays that are warm (numpy's copyto), and the figure is the median over the runs of the ratio of
the two speeds. 1: as fast as memcpy. The code is the same for both engines.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import gc
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import engines  # makes rayc.scripts importable
import numpy as np

from rayc.scripts.benchmark.readings import PLASMA, Reading
from rayc.scripts.benchmark.runner import selection
from rayc.scripts.benchmark.timing import deadline

KIB, MIB, GIB = 1 << 10, 1 << 20, 1 << 30
STORE_BYTES = 2 * GIB
OF_MEMCPY = "of memcpy"
MEMCPYS = 3  # after each run; their median counts
SETTLE_S = 2.0  # after init, before the first put
ROW_S_MAX = 600.0  # a row that takes longer is given up


@dataclasses.dataclass(frozen=True)
class Effort:
    runs: int
    sessions: int  # of rows that need a new one for each run
    loop_s: float  # of a rate


@dataclasses.dataclass(frozen=True)
class Row:
    name: str
    unit: str
    values: Callable[[Any, Effort], Iterator[float]]


ROWS: list[Row] = []
Values = Callable[[Any, Effort], Iterator[float]]


def row(name: str, unit: str) -> Callable[[Values], Values]:
    def add(values: Values) -> Values:
        ROWS.append(Row(name, unit, values))
        return values

    return add


# Helpers ----------------------------------------------------------------------------------


def array_of(size: int) -> Any:
    """Return an array of that many bytes, none of whose pages is a page of zeros."""
    array = np.empty(size, np.uint8)
    array[:] = 1
    array[::KIB] = np.arange(len(array[::KIB])) % 251
    return array


class Memcpy:
    """Copies between two arrays that are warm; says how fast, in bytes per second."""

    def __init__(self, size: int) -> None:
        self._source, self._target = array_of(size), array_of(size)

    def bytes_per_s(self) -> float:
        return statistics.median(self._once() for _ in range(MEMCPYS))

    def _once(self) -> float:
        start = time.perf_counter()
        np.copyto(self._target, self._source)
        return len(self._source) / (time.perf_counter() - start)


@contextlib.contextmanager
def session(engine: Any, **options: Any) -> Iterator[None]:
    engine.init(**{"num_cpus": 2, "object_store_memory": STORE_BYTES, **options})
    try:
        yield
    finally:
        gc.collect()
        engine.shutdown()


def seconds(work: Callable[..., object], *args: Any) -> float:
    start = time.perf_counter()
    result = work(*args)
    elapsed = time.perf_counter() - start
    del result
    return elapsed


def per_second(step: Callable[[], object], at_least_s: float, batch: int) -> float:
    count = 0
    start = time.perf_counter()
    while (elapsed := time.perf_counter() - start) < at_least_s:
        for _ in range(batch):
            step()
        count += batch
    return count / elapsed


# Rows -------------------------------------------------------------------------------------


@row("warm put of 400 MiB", OF_MEMCPY)
def warm_put(engine: Any, effort: Effort) -> Iterator[float]:
    array, memcpy = array_of(400 * MIB), Memcpy(400 * MIB)
    with session(engine):
        for run in range(2 + effort.runs):
            put_s = seconds(engine.put, array)  # the reference goes, and the object
            ratio = array.nbytes / put_s / memcpy.bytes_per_s()
            if run >= 2:
                yield ratio


@row("first put of 400 MiB, 2 s after init", OF_MEMCPY)
def first_put(engine: Any, effort: Effort) -> Iterator[float]:
    array, memcpy = array_of(400 * MIB), Memcpy(400 * MIB)
    for _ in range(effort.sessions):
        with session(engine):
            time.sleep(SETTLE_S)
            put_s = seconds(engine.put, array)
            yield array.nbytes / put_s / memcpy.bytes_per_s()


@row("two processes putting 80 MiB at once, together", OF_MEMCPY)
def two_putters(engine: Any, effort: Effort) -> Iterator[float]:
    size, puts = 80 * MIB, 5

    @engine.remote
    class Putter:
        def __init__(self) -> None:
            self.array = array_of(size)

        def put(self, count: int) -> None:
            for _ in range(count):
                engine.put(self.array)

    memcpy = Memcpy(size)
    with session(engine):
        putters = [Putter.remote() for _ in range(2)]

        def put_all(putters: list[Any]) -> None:
            engine.get([putter.put.remote(puts) for putter in putters])

        put_all(putters)
        for _ in range(effort.runs):
            together = len(putters) * puts * size / seconds(put_all, putters)
            yield together / memcpy.bytes_per_s()
        putters.clear()


@row("get of a 400 MiB array", "us")
def get_large(engine: Any, effort: Effort) -> Iterator[float]:
    with session(engine):
        refs = [engine.put(array_of(400 * MIB))]
        per_second(lambda: engine.get(refs[0]), effort.loop_s / 2, batch=10)
        for _ in range(effort.runs):
            yield 1e6 / per_second(lambda: engine.get(refs[0]), effort.loop_s, batch=10)
        refs.clear()


@row("256 KiB arrays put per second", "/s")
def put_256_kib(engine: Any, effort: Effort) -> Iterator[float]:
    array = array_of(256 * KIB)
    with session(engine):
        per_second(lambda: engine.put(array), effort.loop_s, batch=10)
        for _ in range(effort.runs):
            yield per_second(lambda: engine.put(array), effort.loop_s, batch=10)


def get_many(engine: Any, effort: Effort, size: int) -> Iterator[float]:
    with session(engine):
        refs = [engine.put(array_of(size)) for _ in range(10_000)]
        seconds(engine.get, refs)
        for _ in range(effort.runs):
            yield seconds(engine.get, refs)
        refs.clear()


@row("get of 10,000 refs of 1 KiB in one call", "s")
def get_many_small(engine: Any, effort: Effort) -> Iterator[float]:
    """As the engine keeps what is put: Ray in its store, rayc in the memory of the owner."""
    yield from get_many(engine, effort, KIB)


@row("get of 10,000 refs of 101 KiB in one call", "s")
def get_many_in_store(engine: Any, effort: Effort) -> Iterator[float]:
    """The smallest values that both engines keep in the store."""
    yield from get_many(engine, effort, 101 * KIB)


@row("restore of 1 GiB from spill files in the page cache", OF_MEMCPY)
def restore(engine: Any, effort: Effort) -> Iterator[float]:
    parts, size = 8, 128 * MIB
    array, memcpy = array_of(size), Memcpy(GIB)
    with tempfile.TemporaryDirectory(prefix="bench-spill-") as folder:
        for _ in range(effort.sessions):
            with session(
                engine, object_store_memory=GIB + GIB // 4, object_spilling_directory=folder
            ):
                refs = [engine.put(array) for _ in range(parts)]
                others = [engine.put(array) for _ in range(parts)]  # push the first ones out
                del others
                time.sleep(SETTLE_S)  # until their room is free
                restore_s = seconds(engine.get, refs)
                yield parts * size / restore_s / memcpy.bytes_per_s()
                refs.clear()


# The store on its own ---------------------------------------------------------------------


@contextlib.contextmanager
def store_client(engine: Any) -> Iterator[Any]:
    """Yield `rayc.plasma`'s client of a store of its own."""
    if engine.__name__ != "rayc":
        raise NotImplementedError("only rayc has it")
    from rayc import plasma

    program = Path(plasma.__file__).parents[1] / "bin" / "plasma_store"
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        socket = os.path.join(folder, "plasma")
        store = subprocess.Popen([program, "-m", str(STORE_BYTES), "-s", socket])
        try:
            with plasma.connect(socket, num_retries=50) as client:
                yield client
        finally:
            store.terminate()
            store.wait(10)


SMALL_COUNT = 10_000


def make_small(client: Any, ids: list[Any]) -> None:
    data = bytes(range(256)) * 4
    for object_id in ids:
        client.create(object_id, len(data)).write(0, data)
        client.seal(object_id)


@row("rayc.plasma: create, write 1 KiB, seal", "/s")
def standalone_create(engine: Any, effort: Effort) -> Iterator[float]:
    with store_client(engine) as client:
        from rayc.plasma import ObjectID

        for run in range(1 + effort.runs):
            ids = [ObjectID.from_random() for _ in range(SMALL_COUNT)]
            rate = SMALL_COUNT / seconds(make_small, client, ids)
            client.delete(ids)
            if run > 0:
                yield rate


@row("rayc.plasma: get of 10,000 objects of 1 KiB in one call", "s")
def standalone_get(engine: Any, effort: Effort) -> Iterator[float]:
    with store_client(engine) as client:
        from rayc.plasma import ObjectID

        ids = [ObjectID.from_random() for _ in range(SMALL_COUNT)]
        make_small(client, ids)
        client.get_buffers(ids)
        for _ in range(effort.runs):
            yield seconds(client.get_buffers, ids)


def measure(engine: Any, options: argparse.Namespace) -> Iterator[Reading]:
    """Yield an engine's readings; a row that fails does not stop the others."""
    effort = Effort(runs=3, sessions=2, loop_s=0.2) if options.quick else Effort(9, 5, 0.5)
    selected = selection(options.rows)
    for each in ROWS:
        if not selected(each.name):
            continue
        try:
            with deadline(ROW_S_MAX):
                yield Reading(PLASMA, each.name, each.unit, list(each.values(engine, effort)))
        except Exception as error:
            lines = str(error).strip().splitlines() or [""]
            yield Reading(PLASMA, each.name, why_not=f"{type(error).__name__}: {lines[0]}")
        gc.collect()


if __name__ == "__main__":
    sys.exit(engines.run(__file__, __doc__, measure))
