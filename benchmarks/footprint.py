"""What an idle cluster and idle actors take: processes, memory (PSS), threads; actors per second.

Each run is a new driver process with a cluster of its own; the figures are medians over the runs.
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from typing import Any

from processes import descendants, pss_bytes, threads, title

SETTLE_S = 2.5  # idle workers beyond the CPU count leave after a second

UNITS = {
    "children of an idle 2-CPU cluster": "",
    "PSS of those children together": "MB",
    "actors started per second": "/s",
    "PSS of one idle actor": "MB",
    "threads in a worker, at most": "",
}


def measure(engine: Any, actor_count: int) -> dict[str, float]:
    """Return a run's figures; the engine is a module, rayc or another like it."""

    @engine.remote
    def nothing() -> None:
        pass

    @engine.remote(num_cpus=0)
    class Idle:
        def ping(self) -> int:
            return os.getpid()

    engine.init(num_cpus=2)
    engine.get([nothing.remote() for _ in range(8)])
    time.sleep(SETTLE_S)
    children = descendants(os.getpid())
    cluster_mb = sum(map(pss_bytes, children)) / 1e6

    start = time.perf_counter()
    actors = [Idle.remote() for _ in range(actor_count)]
    pids = engine.get([actor.ping.remote() for actor in actors])
    elapsed_s = time.perf_counter() - start
    assert len(set(pids)) == actor_count
    time.sleep(SETTLE_S)
    actor_mb = statistics.mean(map(pss_bytes, pids)) / 1e6
    workers = [
        pid for pid in descendants(os.getpid()) if title(pid).startswith(f"{engine.__name__}::")
    ]
    thread_count = max(map(threads, workers))
    engine.shutdown()
    return dict(
        zip(
            UNITS,
            (len(children), cluster_mb, actor_count / elapsed_s, actor_mb, thread_count),
            strict=True,
        )
    )


def runs(engine: str, actor_count: int, count: int) -> Iterator[dict[str, float]]:
    """Yield the figures of that many drivers, one after another."""
    command = [sys.executable, __file__, "--once", "--engine", engine, "--actors", str(actor_count)]
    for _ in range(count):
        done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
        figures: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
        yield figures


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--engine", default="rayc", help="the module to import")
    parser.add_argument("--actors", type=int, default=200, help="alive at once")
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--once", action="store_true", help="one run in this process, as JSON")
    options = parser.parse_args()
    if options.once:
        print(json.dumps(measure(importlib.import_module(options.engine), options.actors)))
        return

    all_runs = list(runs(options.engine, options.actors, options.runs))
    print(f"with {options.actors} actors, medians of {options.runs} runs")
    for name, unit in UNITS.items():
        values = [run[name] for run in all_runs]
        print(
            f"{name:34}{statistics.median(values):8.1f} {unit:3}"
            f" ({min(values):.1f} to {max(values):.1f})"
        )


if __name__ == "__main__":
    main()
