"""What an idle cluster and idle actors take: processes, memory (PSS), threads; actors per second.

Each run is a new driver process with a cluster of its own; the figures are medians over the runs.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import time

from processes import descendants, pss_bytes, threads, title

import rayc

SETTLE_S = 2.5  # idle workers beyond the CPU count leave after a second

UNITS = {
    "children of an idle 2-CPU cluster": "",
    "PSS of those children together": "MB",
    "actors started per second": "/s",
    "PSS of one idle actor": "MB",
    "threads in a worker, at most": "",
}


@rayc.remote
def nothing() -> None:
    pass


@rayc.remote(num_cpus=0)
class Idle:
    def ping(self) -> int:
        return os.getpid()


def measure(actor_count: int) -> dict[str, float]:
    rayc.init(num_cpus=2)
    rayc.get([nothing.remote() for _ in range(8)])
    time.sleep(SETTLE_S)
    children = descendants(os.getpid())
    cluster_mb = sum(map(pss_bytes, children)) / 1e6

    start = time.perf_counter()
    actors = [Idle.remote() for _ in range(actor_count)]
    pids = rayc.get([actor.ping.remote() for actor in actors])
    elapsed_s = time.perf_counter() - start
    assert len(set(pids)) == actor_count
    time.sleep(SETTLE_S)
    actor_mb = statistics.mean(map(pss_bytes, pids)) / 1e6
    workers = [pid for pid in descendants(os.getpid()) if title(pid).startswith("rayc::")]
    thread_count = max(map(threads, workers))
    rayc.shutdown()
    return dict(
        zip(
            UNITS,
            (len(children), cluster_mb, actor_count / elapsed_s, actor_mb, thread_count),
            strict=True,
        )
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--actors", type=int, default=200, help="alive at once")
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--once", action="store_true", help="one run in this process, as JSON")
    options = parser.parse_args()
    if options.once:
        print(json.dumps(measure(options.actors)))
        return

    command = [sys.executable, __file__, "--once", "--actors", str(options.actors)]
    runs = []
    for _ in range(options.runs):
        done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
        runs.append(json.loads(done.stdout.splitlines()[-1]))
    print(f"with {options.actors} actors, medians of {options.runs} runs")
    for name, unit in UNITS.items():
        values = [run[name] for run in runs]
        print(
            f"{name:34}{statistics.median(values):8.1f} {unit:3}"
            f" ({min(values):.1f} to {max(values):.1f})"
        )


if __name__ == "__main__":
    main()
