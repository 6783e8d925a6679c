"""The rows of the microbenchmark: their names, and the work of one step.

A row's function gets the engine's module, makes what the row needs, and returns the step and what
it counts as. What it made goes when the step goes.
"""

from __future__ import annotations

import dataclasses
import importlib
from collections.abc import Callable
from typing import Any

from rayc.scripts.benchmark.timing import Step

CALLS = 1_000  # of a batch that is waited for with one get
CALLS_OF_CLIENT = 5_000
CLIENTS = 4
PUTTERS = 10  # tasks that put at the same time
MEBI_INTS = 1024 * 1024
GROUPS = 100
CUSTOM = "custom"  # the resource that the placement groups take from


@dataclasses.dataclass(frozen=True)
class Work:
    """A step, and how many calls (gigabytes, groups) it counts as."""

    step: Step
    count: float = 1


@dataclasses.dataclass(frozen=True)
class Row:
    """A row before it is run."""

    name: str
    prepare: Callable[[Any], Work]
    resources: tuple[tuple[str, float], ...] = ()  # further ones that `init` is given


ROWS: list[Row] = []


def row(name: str, **resources: float) -> Callable[[Callable[[Any], Work]], Callable[[Any], Work]]:
    """Put a function into the table of rows."""

    def add(prepare: Callable[[Any], Work]) -> Callable[[Any], Work]:
        ROWS.append(Row(name, prepare, tuple(resources.items())))
        return prepare

    return add


def named(name: str) -> Row:
    return next(row for row in ROWS if row.name == name)


# What runs in the workers -----------------------------------------------------------------


def servers_wanted(engine: Any) -> int:
    """Return how many actors stand for "n": half as many as CPUs."""
    return max(1, int(engine.cluster_resources().get("CPU", 1)) // 2)


def small_task(engine: Any) -> Any:
    def small_value() -> bytes:
        return b"ok"

    return engine.remote(small_value)


def server_class(engine: Any) -> Any:
    class Server:
        def small_value(self) -> bytes:
            return b"ok"

        def small_value_arg(self, _argument: object) -> bytes:
            return b"ok"

    return engine.remote(num_cpus=0)(Server)


def async_server_class(engine: Any) -> Any:
    class AsyncServer:
        async def small_value(self) -> bytes:
            return b"ok"

        async def small_value_arg(self, _argument: object) -> bytes:
            return b"ok"

    return engine.remote(num_cpus=0)(AsyncServer)


def client_class(engine: Any) -> Any:
    """Return the class of an actor that calls others."""

    class Client:
        def __init__(self, servers: list[Any]) -> None:
            self.servers = servers

        def call(self, count: int) -> None:
            engine.get([s.small_value.remote() for s in self.servers for _ in range(count)])

        def call_with_ref(self, count: int) -> None:
            argument = engine.put(0)
            engine.get(
                [s.small_value_arg.remote(argument) for s in self.servers for _ in range(count)]
            )

    return engine.remote(num_cpus=0)(Client)


def calling_task(engine: Any) -> Any:
    """Return a task that spreads calls over actors."""

    def call(servers: list[Any], count: int) -> None:
        engine.get([servers[i % len(servers)].small_value.remote() for i in range(count)])

    return engine.remote(call)


# Objects ------------------------------------------------------------------------------------


@row("single client get calls (Plasma Store)")
def get_calls(engine: Any) -> Work:
    ref = engine.put(0)
    return Work(lambda: engine.get(ref))


@row("single client put calls (Plasma Store)")
def put_calls(engine: Any) -> Work:
    return Work(lambda: engine.put(0))


@row("multi client put calls (Plasma Store)")
def multi_client_put_calls(engine: Any) -> Work:
    def put_small() -> None:
        for _ in range(100):
            engine.put(0)

    task = engine.remote(put_small)
    return Work(lambda: engine.get([task.remote() for _ in range(PUTTERS)]), PUTTERS * 100)


@row("single client put gigabytes")
def put_gigabytes(engine: Any) -> Work:
    import numpy as np

    array = np.zeros(100 * MEBI_INTS, dtype=np.int64)
    return Work(lambda: engine.put(array), 8 * 0.1)


@row("single client tasks and get batch")
def tasks_and_get_batch(engine: Any) -> Work:
    task = small_task(engine)
    return Work(lambda: engine.get([task.remote() for _ in range(CALLS)]))


@row("multi client put gigabytes")
def multi_client_put_gigabytes(engine: Any) -> Work:
    def put_large() -> None:
        import numpy as np

        for _ in range(10):
            engine.put(np.zeros(10 * MEBI_INTS, dtype=np.int64))

    task = engine.remote(put_large)
    return Work(lambda: engine.get([task.remote() for _ in range(PUTTERS)]), PUTTERS * 8 * 0.1)


@row("single client get object containing 10k refs")
def get_object_containing_refs(engine: Any) -> Work:
    def make_refs() -> list[Any]:
        return [engine.put(1) for _ in range(10_000)]

    ref = engine.remote(make_refs).remote()
    return Work(lambda: engine.get(ref))


@row("single client wait 1k refs")
def wait_refs(engine: Any) -> Work:
    task = small_task(engine)

    def step() -> None:
        rest = [task.remote() for _ in range(CALLS)]
        while rest:
            _, rest = engine.wait(rest)

    return Work(step)


# Tasks --------------------------------------------------------------------------------------


@row("single client tasks sync")
def tasks_sync(engine: Any) -> Work:
    task = small_task(engine)
    return Work(lambda: engine.get(task.remote()))


@row("single client tasks async")
def tasks_async(engine: Any) -> Work:
    task = small_task(engine)
    return Work(lambda: engine.get([task.remote() for _ in range(CALLS)]), CALLS)


@row("multi client tasks async")
def multi_client_tasks_async(engine: Any) -> Work:
    task = small_task(engine)
    count = 10_000

    class Submitter:
        def submit(self) -> None:
            engine.get([task.remote() for _ in range(count)])

    submitter = engine.remote(num_cpus=0)(Submitter)
    submitters = [submitter.remote() for _ in range(CLIENTS)]
    return Work(lambda: engine.get([s.submit.remote() for s in submitters]), CLIENTS * count)


# Actors -------------------------------------------------------------------------------------


def one_to_one_sync(engine: Any, server: Any) -> Work:
    return Work(lambda: engine.get(server.small_value.remote()))


def one_to_one_async(engine: Any, server: Any) -> Work:
    return Work(lambda: engine.get([server.small_value.remote() for _ in range(CALLS)]), CALLS)


def one_to_n_async(engine: Any, server: Any) -> Work:
    servers = [server.remote() for _ in range(servers_wanted(engine))]
    client = client_class(engine).remote(servers)
    return Work(
        lambda: engine.get(client.call.remote(CALLS_OF_CLIENT)), CALLS_OF_CLIENT * len(servers)
    )


def n_to_n_async(engine: Any, server: Any) -> Work:
    servers = [server.remote() for _ in range(servers_wanted(engine))]
    call = calling_task(engine)
    return Work(
        lambda: engine.get([call.remote(servers, CALLS_OF_CLIENT) for _ in range(CLIENTS)]),
        CLIENTS * CALLS_OF_CLIENT,
    )


@row("1:1 actor calls sync")
def actor_calls_sync(engine: Any) -> Work:
    return one_to_one_sync(engine, server_class(engine).remote())


@row("1:1 actor calls async")
def actor_calls_async(engine: Any) -> Work:
    return one_to_one_async(engine, server_class(engine).remote())


@row("1:1 actor calls concurrent")
def actor_calls_concurrent(engine: Any) -> Work:
    return one_to_one_async(engine, server_class(engine).options(max_concurrency=16).remote())


@row("1:n actor calls async")
def one_to_n_actor_calls(engine: Any) -> Work:
    return one_to_n_async(engine, server_class(engine))


@row("n:n actor calls async")
def n_to_n_actor_calls(engine: Any) -> Work:
    return n_to_n_async(engine, server_class(engine))


@row("n:n actor calls with arg async")
def n_to_n_actor_calls_with_arg(engine: Any) -> Work:
    server, client = server_class(engine), client_class(engine)
    clients = [client.remote([server.remote()]) for _ in range(servers_wanted(engine))]
    return Work(
        lambda: engine.get([c.call_with_ref.remote(CALLS) for c in clients]),
        CALLS * len(clients),
    )


@row("1:1 async-actor calls sync")
def async_actor_calls_sync(engine: Any) -> Work:
    return one_to_one_sync(engine, async_server_class(engine).remote())


@row("1:1 async-actor calls async")
def async_actor_calls_async(engine: Any) -> Work:
    return one_to_one_async(engine, async_server_class(engine).remote())


@row("1:1 async-actor calls with args async")
def async_actor_calls_with_args(engine: Any) -> Work:
    server = async_server_class(engine).remote()
    return Work(lambda: engine.get([server.small_value_arg.remote(i) for i in range(CALLS)]), CALLS)


@row("1:n async-actor calls async")
def one_to_n_async_actor_calls(engine: Any) -> Work:
    return one_to_n_async(engine, async_server_class(engine))


@row("n:n async-actor calls async")
def n_to_n_async_actor_calls(engine: Any) -> Work:
    return n_to_n_async(engine, async_server_class(engine))


# Placement groups ---------------------------------------------------------------------------


@row("placement group create/removal", **{CUSTOM: GROUPS})
def placement_groups(engine: Any) -> Work:
    groups = importlib.import_module(f"{engine.__name__}.util.placement_group")

    def step() -> None:
        made = [groups.placement_group([{CUSTOM: 0.001}]) for _ in range(GROUPS)]
        for group in made:
            if not group.wait(timeout_seconds=30):
                raise TimeoutError("a placement group was not ready after 30 s")
        for group in made:
            groups.remove_placement_group(group)

    return Work(step, GROUPS)


# The paired ones ----------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True)
class PairedRow:
    """A row that is measured against the ping-pong: the work is that of another row."""

    name: str
    row: str
    count: float | None = None  # counted as, where it differs from the other row


PAIRED = [
    PairedRow("task sync", "single client tasks sync"),
    PairedRow("tasks async", "single client tasks async"),
    PairedRow("actor call sync", "1:1 actor calls sync"),
    PairedRow("actor calls async", "1:1 actor calls async"),
    PairedRow("small put", "single client put calls (Plasma Store)"),
    PairedRow("small get", "single client get calls (Plasma Store)"),
    PairedRow("wait popping 1,000 refs", "single client wait 1k refs", CALLS),
]
