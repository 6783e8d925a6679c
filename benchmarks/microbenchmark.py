"""The microbenchmark on rayc, on Ray, or on both with the ratio.

    python benchmarks/microbenchmark.py --quick
    python benchmarks/microbenchmark.py --engine both --ray-python build/ray-venv/bin/python

Prints the rows that `ray microbenchmark` has, under the same names; then rows as a ratio to a
ping-pong of 128 bytes between two Python processes; then what a cluster takes (startup.py and
footprint.py). The code is the same for both engines, most of it that of `rayc microbenchmark`.
Ray is imported only if it is asked for. docs/benchmarks.md says more about the method.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import engines  # makes rayc.scripts importable
import footprint
import startup

from rayc.scripts import microbenchmark
from rayc.scripts.benchmark.readings import CLUSTER, Reading
from rayc.scripts.benchmark.runner import Selected, selection

COLD_SCRIPT = "cold script over an empty interpreter"


def cluster_figures(engine: str, selected: Selected, quick: bool) -> Iterator[Reading]:
    """Yield what a cluster takes: time to start, processes, memory, threads."""
    if selected(COLD_SCRIPT):
        try:
            seconds = startup.measure(engine, runs=5 if quick else 15)
            floor = statistics.median(seconds[startup.EMPTY])
            values = [value - floor for value in seconds[startup.WHOLE]]
            yield Reading(CLUSTER, COLD_SCRIPT, "s", values)
        except subprocess.CalledProcessError as error:
            yield Reading(CLUSTER, COLD_SCRIPT, why_not=f"exit code {error.returncode}")
    names = [name for name in footprint.UNITS if selected(name)]
    if not names:
        return
    try:
        runs = list(footprint.runs(engine, 40 if quick else 200, count=1 if quick else 3))
    except subprocess.CalledProcessError as error:
        for name in names:
            yield Reading(CLUSTER, name, why_not=f"exit code {error.returncode}")
        return
    for name in names:
        yield Reading(CLUSTER, name, footprint.UNITS[name], [run[name] for run in runs])


def measure(engine: Any, options: argparse.Namespace) -> Iterator[Reading]:
    """Yield an engine's readings, from this process and from drivers of their own."""
    selected = selection(options.rows)
    yield from microbenchmark.measure(engine, selected, microbenchmark.timing(options))
    yield from cluster_figures(engine.__name__, selected, options.quick)


if __name__ == "__main__":
    sys.exit(engines.run(__file__, __doc__, measure))
